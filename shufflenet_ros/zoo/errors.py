"""What the user of training and export can mend."""


class ZooError(ValueError):
    """A recipe, set, network or run that cannot be used; the message says what was expected."""


class NotTaken(ZooError):
    """A graph that our own kernels cannot compute exactly, so that ONNX Runtime has to run it."""
