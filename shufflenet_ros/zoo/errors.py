# SPDX-License-Identifier: Apache-2.0
"""The error of zoo, training and importers."""

from shufflenet_ros.core.errors import ShuffleNetError


class ZooError(ShuffleNetError):
    """A recipe, data set, network or run that cannot be used. The message says what is expected."""
