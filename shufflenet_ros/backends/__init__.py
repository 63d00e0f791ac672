# SPDX-License-Identifier: Apache-2.0
"""Verify a bundle and run it. Importing this package loads no runtime."""
