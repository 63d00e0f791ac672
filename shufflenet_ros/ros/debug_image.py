"""The image with its labels written on it, for people to look at."""

from array import array
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from rclpy.logging import get_logger
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from shufflenet_ros.core.frame import U8, DecodedImage, Prediction
from shufflenet_ros.core.opencv import cv2, resize, swap_red_and_blue

MAX_WIDTH = 1280
MAX_LINES = 5
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def annotate(image: DecodedImage, labels: Sequence[Prediction]) -> U8:
    """(H, W, 3) uint8 BGR copy, at most 1280 wide, with the best five labels in the upper left corner."""
    pixels = image.pixels
    height, width = pixels.shape[:2]
    if width > MAX_WIDTH:
        pixels = resize(pixels, (max(1, height * MAX_WIDTH // width), MAX_WIDTH), cv2.INTER_AREA)
    pixels = swap_red_and_blue(pixels) if image.color == 'rgb' else pixels.copy()
    scale = pixels.shape[1] / 900
    for row, label in enumerate(labels[:MAX_LINES], 1):
        where = (round(12 * scale), round(34 * scale * row))
        text = f'{label.score:5.1%} {label.name}'
        cv2.putText(pixels, text, where, _FONT, scale, (0, 0, 0), max(1, round(5 * scale)), cv2.LINE_AA)
        cv2.putText(pixels, text, where, _FONT, scale, (255, 255, 255), max(1, round(2 * scale)), cv2.LINE_AA)
    return pixels


def build_message(image: U8, header: Header) -> Image:
    """(H, W, 3) uint8 BGR as bgr8. rclpy checks an ndarray element by element; an array it takes whole."""
    data = array('B')
    data.frombytes(memoryview(np.ascontiguousarray(image)).cast('B'))
    height, width = image.shape[:2]
    return Image(header=header, height=height, width=width, encoding='bgr8', step=width * 3, data=data)


@lru_cache(maxsize=1)
def _converter() -> Callable[[U8, Header], Image]:
    """cv_bridge where it is installed and works with this NumPy and OpenCV, else `build_message`."""
    try:
        from cv_bridge import CvBridge
        bridge = CvBridge()
        bridge.cv2_to_imgmsg(np.zeros((2, 2, 3), np.uint8), 'bgr8')
    except ImportError:
        return build_message
    except Exception as error:  # a cv_bridge built for another NumPy fails in its own ways
        get_logger('debug_image').warning(f'cv_bridge does not work here ({error}); making images without it')
        return build_message

    def convert(image: U8, header: Header) -> Image:
        message: Image = bridge.cv2_to_imgmsg(image, 'bgr8')
        message.header = header
        return message

    return convert


def debug_image(image: DecodedImage, labels: Sequence[Prediction], header: Header) -> Image:
    """The annotated image as a message under the image's own header."""
    return _converter()(annotate(image, labels), header)
