# SPDX-License-Identifier: Apache-2.0
"""The error of the zoo, training and the importers."""

from shufflenet_ros.core.errors import ShuffleNetError


class ZooError(ShuffleNetError):
    """A recipe, dataset, network or run that cannot be used. The message says what is expected."""
