# SPDX-License-Identifier: Apache-2.0
"""The error for labeled datasets that cannot be used."""

from shufflenet_ros.core.errors import ShuffleNetError


class DatasetError(ShuffleNetError):
    """A dataset that cannot be used. The message has its name, what is expected, and a remedy."""
