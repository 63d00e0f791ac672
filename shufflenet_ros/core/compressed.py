# SPDX-License-Identifier: Apache-2.0
"""sensor_msgs/CompressedImage to pixels."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from shufflenet_ros.core import jpeg, png
from shufflenet_ros.core.decoder_warnings import with_warnings
from shufflenet_ros.core.encodings import reject_depth
from shufflenet_ros.core.frame import DecodedImage
from shufflenet_ros.core.limits import byte_view, check_size
from shufflenet_ros.core.opencv import IO_MAX_PIXELS, cv2, opencv_errors_as
from shufflenet_ros.core.reasons import DropReason, FrameError, malformed
from shufflenet_ros.core.text import printable


@dataclass(frozen=True)
class Container:
    """A file format.

    Attributes:
        magic: its first bytes.
        bytes_per_pixel: an upper bound; even noise at the best quality takes less.
        header: reads the header.
        payload: checks the file and returns the part that OpenCV decodes.
        has_checksums: `payload` checks them, so a decoder's warning afterwards is an error.
    """

    name: str
    magic: bytes
    bytes_per_pixel: int
    header: Callable[[memoryview], jpeg.JpegHeader | png.PngHeader]
    payload: Callable[[memoryview], bytearray | memoryview]
    has_checksums: bool


CONTAINERS = (
    Container('JPEG', jpeg.MAGIC, 5, jpeg.jpeg_header, jpeg.jpeg_payload, has_checksums=False),
    Container('PNG', png.MAGIC, 9, png.png_header, png.png_payload, has_checksums=True),
)

_OTHER_BYTES = 1 << 20  # for profiles, thumbnails, texts
_FLAGS = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION


def decode_compressed(msg: Any, max_pixels: int) -> DecodedImage:
    """Decode any object with sensor_msgs/CompressedImage's format and data.

    The first bytes tell JPEG from PNG. `format` is free text that each driver fills differently: it is only
    used to detect depth. The header's size is checked before anything is decoded, and the number of bytes
    against that size. The end of the file is checked too: OpenCV before 5 decodes a truncated JPEG without
    an error.

    Depth is not classified. It is detected by compressedDepth in `format`, by a depth encoding such as 16UC1
    before the first semicolon (image_transport writes the encoding there), and by a PNG of 16-bit gray, which
    is how 16UC1 is sent. A 16-bit gray camera writes mono16 there and is classified.

    The result is the same in OpenCV 4 and 5. Gray becomes three equal channels; 16 bits become the high byte;
    alpha and transparency are dropped. Palettes, interlacing and progressive JPEG are decoded. Orientation
    tags are ignored, so that pixels keep the camera's geometry. An APNG gives its still image. CMYK, 12-bit,
    lossless and arithmetic JPEG are BAD_FORMAT.

    A JPEG has no checksum. If libjpeg notices damage (data that ends early, is left over, or is not a valid
    code), the image's `damage` reports it. Flipped bits that still give valid codes go unnoticed, unlike in a
    PNG.

    Returns:
        DecodedImage: pixels (height, width, 3) uint8, BGR.

    Raises:
        FrameError: BAD_ENCODING, BAD_FORMAT, TRUNCATED, BAD_SIZE, TOO_LARGE, LONG_DATA, NO_MEMORY.
    """
    _check_depth(str(msg.format))
    data = byte_view(msg.data)
    container = _container(bytes(data[:8]))
    header = container.header(data)
    width, height = check_size(header.width, header.height, min(max_pixels, IO_MAX_PIXELS))
    _check_bytes(len(data), width * height, container.bytes_per_pixel)
    if isinstance(header, png.PngHeader) and header.is_gray_16 and _encoding(msg.format) != 'mono16':
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
    """The raw encoding that image_transport writes first: 16UC1 in '16UC1; png compressed '."""
    return str(text).split(';', 1)[0].strip()


def _check_depth(text: str) -> None:
    if 'compressedDepth' in text:
        raise malformed('format compressedDepth: depth is not classified',
                        "subscribe to the camera's color image")
    reject_depth('format', _encoding(text))


def _check_bytes(size: int, pixels: int, bytes_per_pixel: int) -> None:
    """Reject more bytes than an image of so many pixels can need."""
    most = _OTHER_BYTES + bytes_per_pixel * pixels
    if size > most:
        raise FrameError(DropReason.LONG_DATA, f'{size} bytes of compressed data for {pixels} pixels: '
                         f'expected at most {most}; the driver fills the message wrongly')


def _container(head: bytes) -> Container:
    for container in CONTAINERS:
        if head.startswith(container.magic):
            return container
        if container.magic.startswith(head):
            raise FrameError(DropReason.TRUNCATED, f'{len(head)} bytes of data: expected a JPEG or PNG image')
    raise malformed(f'data that begins with {head.hex(" ")}: expected JPEG (ff d8 ff) or PNG (89 50 4e 47)',
                    'set the camera or republisher to one of them')
