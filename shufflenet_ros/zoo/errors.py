"""What the user of training and export can mend."""

from shufflenet_ros.core.errors import ShuffleNetError


class ZooError(ShuffleNetError):
    """A recipe, set, network or run that cannot be used; the message says what was expected."""
