# SPDX-License-Identifier: Apache-2.0
"""sensor_msgs/CompressedImage to pixels."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from shufflenet_ros.core import jpeg, png
from shufflenet_ros.core.decoder_warnings import with_warnings
from shufflenet_ros.core.encodings import DEPTH_ENCODINGS
from shufflenet_ros.core.frame import DecodedImage
from shufflenet_ros.core.limits import byte_view, check_bytes, check_size
from shufflenet_ros.core.opencv import IO_MAX_PIXELS, cv2, opencv_errors_as
from shufflenet_ros.core.reasons import DropReason, FrameError, malformed
from shufflenet_ros.core.text import printable


@dataclass(frozen=True)
class Container:
    """A file format.

    Attributes:
        magic: its first bytes.
        bytes_a_pixel: an upper bound; noise in the best quality takes less.
        size: reads (width, height) from the header.
        payload: checks the file and returns what the decoder may see.
        has_checksums: a file that passed them should decode without a warning, so a warning is an error.
    """

    name: str
    magic: bytes
    bytes_a_pixel: int
    size: Callable[[memoryview], tuple[int, int]]
    payload: Callable[[memoryview], bytearray | memoryview]
    has_checksums: bool


CONTAINERS = (
    Container('JPEG', jpeg.MAGIC, 5, jpeg.jpeg_size, jpeg.jpeg_payload, has_checksums=False),
    Container('PNG', png.MAGIC, 9, png.png_size, png.png_payload, has_checksums=True),
)

_FLAGS = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION


def decode_compressed(msg: Any, max_pixels: int) -> DecodedImage:
    """Decode any object with sensor_msgs/CompressedImage's format and data.

    The data's first bytes decide between JPEG and PNG. `format` is free text that drivers fill differently:
    only what it says about depth is used. The header's size is checked before anything is decoded, and the
    number of bytes is checked against it. The end of the file is checked too, because OpenCV before 5
    decodes a truncated JPEG without an error.

    Depth is not classified. It is recognized by compressedDepth in `format`, by a depth encoding such as
    16UC1 before the first semicolon (image_transport writes the encoding there), and by a PNG of 16-bit gray,
    which is how 16UC1 is sent. A 16-bit gray camera writes mono16 there and is classified.

    The result is the same in OpenCV 4 and 5. Gray becomes three equal channels; of 16 bits the high byte is
    kept; alpha and transparency are dropped. Palettes, interlacing and progressive JPEG are decoded.
    Orientation tags are ignored, so that pixels keep the camera's geometry. An APNG gives its still image.
    CMYK, 12-bit, lossless and arithmetic JPEG are BAD_FORMAT.

    A JPEG has no checksum. Where libjpeg notices damage (data that end early, are left over, or are invalid
    codes), the image's `damage` reports it. Flipped bits that are still valid codes go unnoticed; in a PNG
    they do not.

    Returns:
        DecodedImage: pixels (height, width, 3) uint8, BGR.

    Raises:
        FrameError: BAD_ENCODING, BAD_FORMAT, TRUNCATED, BAD_SIZE, TOO_LARGE, LONG_DATA, NO_MEMORY.
    """
    _check_depth(str(msg.format))
    data = byte_view(msg.data)
    container = _container(bytes(data[:8]))
    width, height = check_size(*container.size(data), min(max_pixels, IO_MAX_PIXELS))
    check_bytes(len(data), width * height, container.bytes_a_pixel)
    if container.name == 'PNG' and png.is_gray_16(data) and _encoding(msg.format) != 'mono16':
        raise FrameError(
            DropReason.BAD_ENCODING, 'PNG of 16-bit gray: treated as depth, which is not classified; '
            "subscribe to the camera's color or mono image; if it is gray, set format to "
            "'mono16; png compressed' or convert it to 8 bits")
    what = f'{container.name} of {width}x{height}'
    with opencv_errors_as(DropReason.BAD_FORMAT, what):
        payload = np.frombuffer(container.payload(data), np.uint8)
        pixels, warnings = with_warnings(lambda: cv2.imdecode(payload, _FLAGS))
    if pixels is None or pixels.shape != (height, width, 3) or (warnings and container.has_checksums):
        detail = f' ({warnings})' if warnings else ''
        raise malformed(f'{what}: the compressed data cannot be decoded{detail}')
    return DecodedImage(np.asarray(pixels, np.uint8), 'bgr', printable(warnings))


def _encoding(text: Any) -> str:
    """What image_transport writes first into `format`: 16UC1 of '16UC1; png compressed '."""
    return str(text).split(';', 1)[0].strip()


def _check_depth(text: str) -> None:
    if 'compressedDepth' in text:
        raise malformed('format compressedDepth: depth is not classified',
                        "subscribe to the camera's color image")
    if _encoding(text) in DEPTH_ENCODINGS:
        raise FrameError(DropReason.BAD_ENCODING, f'format {_encoding(text)}: depth is not classified; '
                                                  "subscribe to the camera's color or mono image")


def _container(head: bytes) -> Container:
    for container in CONTAINERS:
        if head.startswith(container.magic):
            return container
        if container.magic.startswith(head):
            raise FrameError(DropReason.TRUNCATED, f'{len(head)} bytes of data: expected a JPEG or PNG image')
    raise malformed(f'data that begin with {head.hex(" ")}: expected JPEG (ff d8 ff) or PNG (89 50 4e 47)',
                    'set the camera or republisher to one of them')
