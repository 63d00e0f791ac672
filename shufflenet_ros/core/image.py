# SPDX-License-Identifier: Apache-2.0
"""sensor_msgs/Image to pixels."""

from operator import index
from typing import Any

import numpy as np

from shufflenet_ros.core.encodings import ENCODINGS, Encoding, reject_depth
from shufflenet_ros.core.frame import U8, DecodedImage
from shufflenet_ros.core.limits import byte_view, check_size
from shufflenet_ros.core.opencv import cv2, opencv_errors_as
from shufflenet_ros.core.reasons import DropReason, FrameError
from shufflenet_ros.core.text import printable

_DRIVER = 'the driver fills the message wrongly'


def decode_image(msg: Any, max_pixels: int) -> DecodedImage:
    """Decode any object with sensor_msgs/Image's height, width, encoding, is_bigendian, step and data.

    Rows may be padded (some cameras align them to 4 or 64 bytes): `step` must be at least the bytes of the
    pixels, and even for 16-bit encodings. The data must have exactly `step` bytes per row. rgb8, bgr8 and
    8UC3 come back as a view of the data, padded or not. Alpha is dropped, mono16 gives its high byte, 8UC3
    and 8UC4 are read as BGR(A), as in OpenCV. `height` is that of the image: nv12 and nv21 have height *
    3 / 2 rows of data.

    Returns:
        DecodedImage: pixels (height, width, 3) uint8.

    Raises:
        FrameError: BAD_ENCODING, BAD_SIZE, TOO_LARGE, TOO_SMALL, BAD_STEP, SHORT_DATA, LONG_DATA, BAD_FORMAT
            (data that is not a buffer of bytes), NO_MEMORY.
    """
    encoding = _encoding(msg.encoding)
    width, height = check_size(msg.width, msg.height, max_pixels)
    _check_fits(encoding, msg.encoding, width, height)
    step = _step(msg, encoding, width)
    rows = height * encoding.rows_of_two // 2
    data = byte_view(msg.data)
    _check_length(data.nbytes, step, rows, msg)
    channels = encoding.channels
    samples = np.ndarray((rows, width, channels), np.uint8, data, strides=(step, channels, 1))
    with opencv_errors_as(DropReason.BAD_ENCODING, f'{msg.encoding} of {width}x{height}'):
        return DecodedImage(_three_channels(samples, encoding, bool(msg.is_bigendian)), encoding.color)


def _three_channels(samples: U8, encoding: Encoding, big_endian: bool) -> U8:
    if encoding.depth == 2:
        samples = np.ascontiguousarray(samples[..., 0 if big_endian else 1])
    if encoding.conversion is None:
        return samples
    return np.asarray(cv2.cvtColor(samples, encoding.conversion), np.uint8)


def _encoding(name: Any) -> Encoding:
    name = str(name)
    if name in ENCODINGS:
        return ENCODINGS[name]
    reject_depth('encoding', name)
    raise FrameError(DropReason.BAD_ENCODING, f'encoding {printable(repr(name), 40)}: expected one of '
                                              f'{" ".join(ENCODINGS)}')


def _check_fits(encoding: Encoding, name: str, width: int, height: int) -> None:
    if width % encoding.even[0] or height % encoding.even[1]:
        raise FrameError(DropReason.BAD_SIZE, f'{name} of {width}x{height}: pixels share chroma, expected '
                                              f'multiples of {encoding.even[0]}x{encoding.even[1]}')
    if min(width, height) < encoding.smallest:
        raise FrameError(DropReason.TOO_SMALL, f'{name} of {width}x{height}: a mosaic needs '
                                               f'{encoding.smallest}x{encoding.smallest} pixels')


def _step(msg: Any, encoding: Encoding, width: int) -> int:
    try:
        step = index(msg.step)
    except TypeError:
        raise FrameError(DropReason.BAD_STEP, f'step {msg.step!r}: expected the bytes of a row') from None
    least = width * encoding.channels
    if step < least or step % encoding.depth:
        unit = f' and a multiple of {encoding.depth}' if encoding.depth > 1 else ''
        raise FrameError(DropReason.BAD_STEP, f'step {step} for {width} pixels of {msg.encoding}: expected '
                                              f'at least {least}{unit}; {_DRIVER}')
    return step


def _check_length(got: int, step: int, rows: int, msg: Any) -> None:
    expected = step * rows
    if got == expected:
        return
    reason = DropReason.SHORT_DATA if got < expected else DropReason.LONG_DATA
    raise FrameError(reason, f'{got} bytes of data for {msg.width}x{msg.height} {msg.encoding}: expected '
                             f'{rows} rows of step {step} = {expected}; {_DRIVER}')
