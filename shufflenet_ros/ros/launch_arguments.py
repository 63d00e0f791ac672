# SPDX-License-Identifier: Apache-2.0
"""What classify.launch.py and the systemd unit have in common. Imports no ROS."""

from collections.abc import Mapping, Sequence

from shufflenet_ros.core.errors import ShuffleNetError
from shufflenet_ros.ros.dds_profile import FAST_DDS_2, FAST_DDS_3, profile_variable


class LaunchArgumentError(ShuffleNetError):
    """An invalid launch argument."""


def remappings(cameras: Sequence[str], image_topic: str) -> list[tuple[str, str]]:
    """Remappings from image_raw to the cameras' topics.

    Raises:
        LaunchArgumentError: several cameras, and a topic that is not relative to each.
    """
    if image_topic == 'image_raw':
        return []
    if not cameras:
        return [('image_raw', image_topic)]
    if image_topic.startswith(('/', '~')):
        raise LaunchArgumentError(f'image_topic: got {image_topic!r} with cameras, expected a name relative '
                                  'to each camera, such as image_color')
    return [(f'{camera}/image_raw', f'{camera}/{image_topic}') for camera in cameras]


def split_cameras(text: str) -> list[str]:
    """The names in a comma-separated list."""
    return [name.strip() for name in text.split(',') if name.strip()]


def dds_profile_variable(environment: Mapping[str, str]) -> str:
    """The variable for a Fast DDS profile that the distribution reads; '' if a profile is already given."""
    given = FAST_DDS_2 in environment or FAST_DDS_3 in environment
    return '' if given else profile_variable(environment)
