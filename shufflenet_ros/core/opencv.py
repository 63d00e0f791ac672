# SPDX-License-Identifier: Apache-2.0
"""OpenCV, imported in one place, because its limits must be in the environment before it is loaded.

All modules import it from here (`from shufflenet_ros.core.opencv import cv2`). `core.compressed` checks an
image's size before OpenCV sees it; the pixel limit is a second safeguard, for other libraries in the same
process. If the operator has set the variable, that value is used.
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
    """Resize (H, W, 3) uint8 to (height, width). OpenCV 4.5.4 fails for a single pixel."""
    if pixels.shape[:2] == (1, 1):
        return np.tile(pixels, (*size, 1))
    return np.asarray(cv2.resize(pixels, size[::-1], interpolation=interpolation), np.uint8)


def swap_red_and_blue(pixels: U8) -> U8:
    """A copy of (H, W, 3) uint8 with first and last channel swapped. See `resize` for a single pixel."""
    if pixels.shape[:2] == (1, 1):
        return pixels[..., ::-1].copy()
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)


@contextmanager
def opencv_errors_as(reason: DropReason, what: str) -> Iterator[None]:
    """Turn the errors of OpenCV and NumPy inside the block into FrameError.

    Raises:
        FrameError: NO_MEMORY if memory ran out, otherwise `reason` with OpenCV's message.
    """
    try:
        yield
    except (MemoryError, cv2.error) as error:
        if isinstance(error, MemoryError) or getattr(error, 'code', None) == cv2.Error.StsNoMem:
            raise FrameError(DropReason.NO_MEMORY, f'{what}: no memory for the image') from error
        raise FrameError(reason, f'{what}: OpenCV rejects it: {getattr(error, "err", error)}') from error
