# SPDX-License-Identifier: Apache-2.0
"""The networks in PyTorch, what they cost, and their export to a bundle."""
