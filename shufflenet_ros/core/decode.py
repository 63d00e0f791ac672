# SPDX-License-Identifier: Apache-2.0
"""Any image message to pixels."""

from typing import Any

from shufflenet_ros.core.compressed import decode_compressed
from shufflenet_ros.core.frame import DecodedImage
from shufflenet_ros.core.image import decode_image


def decode(message: Any, max_pixels: int) -> DecodedImage:
    """Decode any object with the fields of sensor_msgs/Image or sensor_msgs/CompressedImage.

    Raises:
        FrameError: see `decode_image` and `decode_compressed`.
    """
    if hasattr(message, 'encoding'):
        return decode_image(message, max_pixels)
    return decode_compressed(message, max_pixels)
