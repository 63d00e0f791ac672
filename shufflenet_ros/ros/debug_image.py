# SPDX-License-Identifier: Apache-2.0
"""The debug image: the camera image with the predictions drawn on it."""

from array import array
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from rclpy.logging import get_logger
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from shufflenet_ros.core.drawing import annotate
from shufflenet_ros.core.frame import U8, DecodedImage, Prediction


def build_message(image: U8, header: Header) -> Image:
    """(H, W, 3) uint8 BGR as bgr8. rclpy checks an ndarray element by element, but not an array.array."""
    data = array('B')
    data.frombytes(np.ascontiguousarray(image).data.cast('B'))
    height, width = image.shape[:2]
    return Image(header=header, height=height, width=width, encoding='bgr8', step=width * 3, data=data)


@lru_cache(maxsize=1)
def _converter() -> Callable[[U8, Header], Image]:
    """Use cv_bridge if it is installed and works with this NumPy and OpenCV, else `build_message`."""
    try:
        from cv_bridge import CvBridge
        bridge = CvBridge()
        bridge.cv2_to_imgmsg(np.zeros((2, 2, 3), np.uint8), 'bgr8')
    except ImportError:
        return build_message
    except Exception as error:  # a cv_bridge built for another NumPy fails in its own ways
        get_logger('debug_image').warning(f'cv_bridge does not work here ({error}); not used')
        return build_message

    def convert(image: U8, header: Header) -> Image:
        message: Image = bridge.cv2_to_imgmsg(image, 'bgr8')
        message.header = header
        return message

    return convert


def debug_image(image: DecodedImage, predictions: Sequence[Prediction], header: Header) -> Image:
    """The annotated image as a message under the image's own header."""
    return _converter()(annotate(image, predictions), header)
