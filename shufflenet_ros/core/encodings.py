# SPDX-License-Identifier: Apache-2.0
"""The raw encodings of sensor_msgs/Image that are decoded, as a table."""

from dataclasses import dataclass

from shufflenet_ros.core.frame import Color
from shufflenet_ros.core.opencv import cv2
from shufflenet_ros.core.reasons import DropReason, FrameError


@dataclass(frozen=True)
class Encoding:
    """The memory layout of an encoding and its conversion to (H, W, 3).

    Attributes:
        channels: bytes per pixel in a row of the data.
        color: channel order of the result.
        conversion: OpenCV's code to get three channels; None if the data already has them.
        depth: bytes per sample; of two, the high byte is used.
        rows_of_two: rows of data for two rows of pixels: 3 if half-height chroma follows the luma.
        even: (width, height) must be multiples of these, because pixels share chroma.
        smallest: the shortest side that the conversion can interpolate.
    """

    channels: int
    color: Color
    conversion: int | None = None
    depth: int = 1
    rows_of_two: int = 2
    even: tuple[int, int] = (1, 1)
    smallest: int = 1


def _bayer(conversion: int) -> Encoding:
    return Encoding(1, 'bgr', conversion, smallest=3)


def _yuv422(conversion: int) -> Encoding:
    return Encoding(2, 'bgr', conversion, even=(2, 1))


def _yuv420(conversion: int) -> Encoding:
    return Encoding(1, 'bgr', conversion, rows_of_two=3, even=(2, 2))


_MONO8 = Encoding(1, 'bgr', cv2.COLOR_GRAY2BGR)
_BGR8 = Encoding(3, 'bgr')
_BGRA8 = Encoding(4, 'bgr', cv2.COLOR_BGRA2BGR)
_UYVY = _yuv422(cv2.COLOR_YUV2BGR_UYVY)
_YUYV = _yuv422(cv2.COLOR_YUV2BGR_YUY2)

# ROS names a Bayer pattern after the first two pixels of rows 0 and 1. OpenCV's old names, which all versions
# have, use the second and third pixel of rows 1 and 2: rggb is BG.
ENCODINGS = {
    'mono8': _MONO8,
    'mono16': Encoding(2, 'bgr', cv2.COLOR_GRAY2BGR, depth=2),
    'rgb8': Encoding(3, 'rgb'),
    'bgr8': _BGR8,
    'rgba8': Encoding(4, 'rgb', cv2.COLOR_BGRA2BGR),
    'bgra8': _BGRA8,
    '8UC1': _MONO8,
    '8UC3': _BGR8,
    '8UC4': _BGRA8,
    'bayer_rggb8': _bayer(cv2.COLOR_BayerBG2BGR),
    'bayer_bggr8': _bayer(cv2.COLOR_BayerRG2BGR),
    'bayer_gbrg8': _bayer(cv2.COLOR_BayerGR2BGR),
    'bayer_grbg8': _bayer(cv2.COLOR_BayerGB2BGR),
    'yuv422': _UYVY,
    'uyvy': _UYVY,
    'yuv422_yuy2': _YUYV,
    'yuyv': _YUYV,
    'nv12': _yuv420(cv2.COLOR_YUV2BGR_NV12),
    'nv21': _yuv420(cv2.COLOR_YUV2BGR_NV21),
}

_DEPTH_ENCODINGS = frozenset(('16UC1', '16SC1', '32SC1', '32FC1', '64FC1'))


def reject_depth(field: str, encoding: str) -> None:
    """Raise FrameError BAD_ENCODING for a depth encoding; `field` is the message's field that has it."""
    if encoding in _DEPTH_ENCODINGS:
        raise FrameError(DropReason.BAD_ENCODING, f'{field} {encoding}: depth is not classified; '
                                                  "subscribe to the camera's color or mono image")
