# SPDX-License-Identifier: Apache-2.0
"""Which paths are bags and which types are images. Needs no rosbags, unlike reading."""

from pathlib import Path

BAG_SUFFIXES = ('.bag', '.db3', '.mcap')
IMAGE_TYPES = ('sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage')


def is_bag(path: Path) -> bool:
    """Whether a path looks like a bag: a folder with metadata.yaml, or a .bag, .db3 or .mcap file."""
    return (path / 'metadata.yaml').is_file() if path.is_dir() else path.suffix in BAG_SUFFIXES
