"""OpenCV, imported in one place: its limits must stand in the environment before it is loaded.

Every module takes it from here (`from shufflenet_ros.core.opencv import cv2`). The pixel limit is a second
belt: `core.compressed` reads an image's size before OpenCV sees it, but other libraries in the same
process may not. An operator's own value of the variable wins.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from shufflenet_ros.core.frame import U8
from shufflenet_ros.core.reasons import DropReason, FrameError

IO_MAX_PIXELS = 1 << 27
os.environ.setdefault('OPENCV_IO_MAX_IMAGE_PIXELS', str(IO_MAX_PIXELS))

import cv2 as cv2  # noqa: E402


def resize(pixels: U8, size: tuple[int, int], interpolation: int) -> U8:
    """cv2.resize of (H, W, 3) uint8 to (height, width), also of one pixel, where OpenCV 4.5.4 fails."""
    if pixels.shape[:2] == (1, 1):
        return np.tile(pixels, (*size, 1))  # what every interpolation makes of it
    return np.asarray(cv2.resize(pixels, size[::-1], interpolation=interpolation), np.uint8)


def swap_red_and_blue(pixels: U8) -> U8:
    """A copy of (H, W, 3) uint8 with first and last channel swapped, also of one pixel, as in `resize`."""
    if pixels.shape[:2] == (1, 1):
        return pixels[..., ::-1].copy()
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)


@contextmanager
def opencv_errors_as(reason: DropReason, what: str) -> Iterator[None]:
    """Turn what OpenCV and NumPy raise inside the block into FrameError.

    Raises:
        FrameError: NO_MEMORY where memory ran out, else `reason` with OpenCV's own words.
    """
    try:
        yield
    except MemoryError as error:
        raise FrameError(DropReason.NO_MEMORY, f'{what}: no memory for the image') from error
    except cv2.error as error:
        if getattr(error, 'code', None) == cv2.Error.StsNoMem:
            raise FrameError(DropReason.NO_MEMORY, f'{what}: no memory for the image') from error
        raise FrameError(reason, f'{what}: OpenCV refuses it: {getattr(error, "err", error)}') from error
