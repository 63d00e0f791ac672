# SPDX-License-Identifier: Apache-2.0
"""The demo: a real bag of real images, over real DDS, through the real node. `make demo` runs it."""
