"""sensor_msgs/CompressedImage to pixels."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from shufflenet_ros.core import jpeg, png
from shufflenet_ros.core.frame import Picture
from shufflenet_ros.core.limits import byte_view, check_size
from shufflenet_ros.core.opencv import IO_MAX_PIXELS, cv2, opencv_errors_as
from shufflenet_ros.core.reasons import Dropped, Reason


@dataclass(frozen=True)
class Container:
    """A file format: how its bytes begin, its picture's size, and the part that the decoder may see."""

    name: str
    magic: bytes
    size: Callable[[memoryview], tuple[int, int]]
    payload: Callable[[memoryview], bytes | memoryview]


CONTAINERS = (
    Container('JPEG', jpeg.MAGIC, jpeg.jpeg_size, jpeg.jpeg_payload),
    Container('PNG', png.MAGIC, png.png_size, png.png_payload),
)


def decode_compressed(msg: Any, max_pixels: int) -> Picture:
    """Decode any object with sensor_msgs/CompressedImage's format and data.

    JPEG or PNG, decided by the data's first bytes; `format` is free text that drivers fill differently, and
    only a compressedDepth in it is believed. The header's size is checked before anything is decoded, and
    the end is looked for, because OpenCV before 5 answers a cut JPEG with a whole picture.

    The outcome is the same in OpenCV 4 and 5: grey becomes three equal channels; 16 bits give the high byte;
    alpha and transparency are dropped; palettes, interlacing and progressive JPEG are decoded; orientation
    tags are ignored, so that pixels keep the camera's geometry; of an APNG the still picture is taken; CMYK,
    12-bit, lossless and arithmetic JPEG are BAD_FORMAT. A JPEG damaged in its middle cannot be told from a
    good one, since it has no checksum; a PNG can.

    Returns:
        Picture: pixels (height, width, 3) uint8, BGR.

    Raises:
        Dropped: BAD_FORMAT, TRUNCATED, BAD_SIZE, TOO_LARGE, NO_MEMORY.
    """
    if 'compressedDepth' in str(msg.format):
        raise Dropped(Reason.BAD_FORMAT, 'format compressedDepth: depth is not classified; '
                                         "subscribe to the camera's colour picture")
    data = byte_view(msg.data)
    container = _container(bytes(data[:8]))
    width, height = check_size(*container.size(data), min(max_pixels, IO_MAX_PIXELS))
    payload = np.frombuffer(container.payload(data), np.uint8)
    what = f'{container.name} of {width}x{height}'
    with opencv_errors_as(Reason.BAD_FORMAT, what):
        pixels = cv2.imdecode(payload, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None or pixels.shape != (height, width, 3):
        raise Dropped(Reason.BAD_FORMAT, f'{what}: the compressed data cannot be decoded; damaged on its way')
    return Picture(np.asarray(pixels, np.uint8), 'bgr')


def _container(head: bytes) -> Container:
    for container in CONTAINERS:
        if head.startswith(container.magic):
            return container
        if container.magic.startswith(head):
            raise Dropped(Reason.TRUNCATED, f'{len(head)} bytes of data: expected a JPEG or PNG picture')
    raise Dropped(Reason.BAD_FORMAT, f'data that begin with {head.hex(" ")}: expected JPEG (ff d8 ff) or '
                                     'PNG (89 50 4e 47); set the camera or republisher to one of them')
