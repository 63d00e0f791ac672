# SPDX-License-Identifier: Apache-2.0
"""Errors of packing a graph for the native kernels."""

from shufflenet_ros.core.errors import ShuffleNetError


class PackError(ShuffleNetError):
    """A bundle that cannot be packed; the message says what was expected."""


class UnsupportedGraphError(PackError):
    """A graph that the native kernels cannot compute exactly; ONNX Runtime has to run it."""
