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
from shufflenet_ros.core.reasons import DropReason, FrameError
from shufflenet_ros.core.text import printable


@dataclass(frozen=True)
class Container:
    """A file format.

    Attributes:
        magic: how its bytes begin.
        bytes_a_pixel: more than its least compressible image needs: noise in the best quality.
        size: (width, height) from its header.
        payload: what the decoder may see.
        has_sums: so that a warning is an error: what passed its sums should need none.
    """

    name: str
    magic: bytes
    bytes_a_pixel: int
    size: Callable[[memoryview], tuple[int, int]]
    payload: Callable[[memoryview], bytearray | memoryview]
    has_sums: bool


CONTAINERS = (
    Container('JPEG', jpeg.MAGIC, 5, jpeg.jpeg_size, jpeg.jpeg_payload, has_sums=False),
    Container('PNG', png.MAGIC, 9, png.png_size, png.png_payload, has_sums=True),
)

_FLAGS = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION


def decode_compressed(msg: Any, max_pixels: int) -> DecodedImage:
    """Decode any object with sensor_msgs/CompressedImage's format and data.

    JPEG or PNG, decided by the data's first bytes; `format` is free text that drivers fill differently, and
    only what it says of depth is believed. The header's size is checked before anything is decoded, how
    many bytes there are is checked against it, and the end is looked for, because OpenCV before 5 answers
    a cut JPEG with a whole image.

    Depth is not classified. It is told by compressedDepth in `format`, by a depth encoding such as 16UC1
    before its first semicolon (image_transport writes the encoding there), and by a PNG of 16-bit gray:
    that is how 16UC1 is sent. A gray camera of 16 bits says mono16 there, and is classified.

    The outcome is the same in OpenCV 4 and 5: gray becomes three equal channels; 16 bits give the high byte;
    alpha and transparency are dropped; palettes, interlacing and progressive JPEG are decoded; orientation
    tags are ignored, so that pixels keep the camera's geometry; of an APNG the still image is taken; CMYK,
    12-bit, lossless and arithmetic JPEG are BAD_FORMAT. A JPEG has no checksum. Where libjpeg notices damage
    (data that end early, that are left over, or that are no code) the image's `damage` says so; changed
    bits that are still codes cannot be told from a good image. In a PNG they can.

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
        raise FrameError(DropReason.BAD_ENCODING, 'PNG of 16-bit gray: taken for depth, which is not classified; '
                                           "subscribe to the camera's color or mono image, or set format to "
                                           "'mono16; png compressed' if it is gray, or convert it to 8 bits")
    what = f'{container.name} of {width}x{height}'
    with opencv_errors_as(DropReason.BAD_FORMAT, what):
        payload = np.frombuffer(container.payload(data), np.uint8)
        pixels, warnings = with_warnings(lambda: cv2.imdecode(payload, _FLAGS))
    if pixels is None or pixels.shape != (height, width, 3) or (warnings and container.has_sums):
        detail = f' ({warnings})' if warnings else ''
        raise FrameError(DropReason.BAD_FORMAT, f'{what}: the compressed data cannot be decoded{detail}; '
                                         'damaged on its way')
    return DecodedImage(np.asarray(pixels, np.uint8), 'bgr', printable(warnings))


def _encoding(text: Any) -> str:
    """What image_transport writes first into `format`: 16UC1 of '16UC1; png compressed '."""
    return str(text).split(';', 1)[0].strip()


def _check_depth(text: str) -> None:
    if 'compressedDepth' in text:
        raise FrameError(DropReason.BAD_FORMAT, 'format compressedDepth: depth is not classified; '
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
    raise FrameError(DropReason.BAD_FORMAT, f'data that begin with {head.hex(" ")}: expected JPEG (ff d8 ff) or '
                                     'PNG (89 50 4e 47); set the camera or republisher to one of them')
