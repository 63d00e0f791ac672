"""Image files as the messages that core decodes."""

from dataclasses import dataclass

import numpy as np

from shufflenet_ros.core.compressed import CONTAINERS
from shufflenet_ros.core.frame import U8
from shufflenet_ros.core.opencv import cv2, opencv_errors_as
from shufflenet_ros.core.reasons import FrameError, Reason

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


def too_large(size: int) -> FrameError:
    """Why a file of this size is not read."""
    return FrameError(Reason.TOO_LARGE, f'file of {size} bytes: expected at most {MAX_FILE_BYTES}')


def labeled_image(data: bytes, suffix: str) -> FileImage | PixelImage | FrameError:
    """An image of a training set as a message.

    JPEG and PNG go the CompressedImage's way, as they would from a camera. Cameras send nothing else but
    sets hold it (WebP above all): such a file is decoded here and goes the Image's way.
    """
    if any(data.startswith(container.magic) for container in CONTAINERS):
        return FileImage(data, suffix)
    try:
        with opencv_errors_as(Reason.BAD_FORMAT, f'{suffix} file'):
            flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    except FrameError as dropped:
        return dropped
    if pixels is None:
        detail = f'{len(data)} bytes that OpenCV cannot decode; damaged, or no image'
        return FrameError(Reason.BAD_FORMAT, detail)
    height, width = pixels.shape[:2]
    return PixelImage(np.asarray(pixels, np.uint8).reshape(-1), height, width, 3 * width)
