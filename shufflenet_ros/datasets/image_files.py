# SPDX-License-Identifier: Apache-2.0
"""Image files as the messages that core decodes."""

import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from shufflenet_ros.core.compressed import CONTAINERS
from shufflenet_ros.core.files import open_regular
from shufflenet_ros.core.frame import U8
from shufflenet_ros.core.opencv import cv2, opencv_errors_as
from shufflenet_ros.core.reasons import DropReason, FrameError

IMAGE_SUFFIXES = ('.bmp', '.gif', '.jpeg', '.jpg', '.pbm', '.pgm', '.png', '.ppm', '.tif', '.tiff', '.webp')
MAX_FILE_BYTES = 256 << 20


@dataclass(frozen=True)
class FileImage:
    """An image file with the fields of a sensor_msgs/CompressedImage that decoding needs."""

    data: bytes
    format: str


@dataclass(frozen=True)
class PixelImage:
    """Pixels with the fields of a sensor_msgs/Image that decoding needs."""

    data: U8
    height: int
    width: int
    step: int
    encoding: str = 'bgr8'
    is_bigendian: int = 0

    @classmethod
    def from_pixels(cls, pixels: npt.NDArray[Any]) -> 'PixelImage':
        """An image of (H, W, 3) uint8 BGR."""
        height, width = pixels.shape[:2]
        return cls(np.asarray(pixels, np.uint8).reshape(-1), height, width, 3 * width)


def is_image_file(name: str) -> bool:
    """Whether a file's name ends like an image's."""
    return PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES


def too_large(size: int) -> FrameError:
    """Why a file of this size is not read."""
    return FrameError(DropReason.TOO_LARGE, f'file of {size} bytes: expected at most {MAX_FILE_BYTES}')


def read_image_file(path: Path) -> bytes | FrameError:
    """The bytes of a file of at most MAX_FILE_BYTES.

    Raises:
        OSError: the file cannot be read, or is not a regular file.
    """
    with open_regular(path) as file:
        data = file.read(MAX_FILE_BYTES + 1)
        return data if len(data) <= MAX_FILE_BYTES else too_large(os.fstat(file.fileno()).st_size)


def image_message(data: bytes, suffix: str) -> FileImage | PixelImage | FrameError:
    """A dataset's image file as a message.

    JPEG and PNG become a CompressedImage, as from a camera. Cameras send no other format, but datasets have
    some, above all WebP. Such a file is decoded here and becomes an Image.
    """
    if any(data.startswith(container.magic) for container in CONTAINERS):
        return FileImage(data, suffix)
    try:
        with opencv_errors_as(DropReason.BAD_FORMAT, f'{suffix} file'):
            flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    except FrameError as error:
        return error
    if pixels is None:
        detail = f'OpenCV cannot decode these {len(data)} bytes: damaged, or not an image'
        return FrameError(DropReason.BAD_FORMAT, detail)
    return PixelImage.from_pixels(pixels)
