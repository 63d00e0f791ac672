# SPDX-License-Identifier: Apache-2.0
"""Measurements. `measure()` of a module returns its figures by name. No figure can fail `make test`."""
