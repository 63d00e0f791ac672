# SPDX-License-Identifier: Apache-2.0
"""What classify.launch.py and the systemd unit have in common. Imports no ROS."""

from collections.abc import Sequence

from shufflenet_ros.core.errors import ShuffleNetError


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
