"""What goes wrong while a graph is packed for our own kernels."""

from shufflenet_ros.core.errors import ShuffleNetError


class PackError(ShuffleNetError):
    """A bundle that cannot be packed; the message says what was expected."""


class UnsupportedGraphError(PackError):
    """A graph that our own kernels cannot compute exactly, so ONNX Runtime has to run it."""
