"""What goes wrong with labeled sets, as one error class."""

from shufflenet_ros.core.errors import ShuffleNetError


class DatasetError(ShuffleNetError):
    """A set that cannot be used; the message names what it is, what is expected and what to do."""
