# SPDX-License-Identifier: Apache-2.0
"""Checks before anything is allocated, with Python's integers, which cannot overflow."""

from operator import index
from typing import Any

from shufflenet_ros.core.reasons import DropReason, FrameError

MAX_SIDE = 65_535  # the most that a JPEG header can hold


def check_size(width: Any, height: Any, max_pixels: int) -> tuple[int, int]:
    """(width, height) as integers.

    Raises:
        FrameError: BAD_SIZE if a side is not in 1 to 65,535; TOO_LARGE above max_pixels.
    """
    try:
        w, h = index(width), index(height)
    except TypeError:
        raise FrameError(DropReason.BAD_SIZE, f'size {width!r} x {height!r}: expected two integers') from None
    if not (1 <= w <= MAX_SIDE and 1 <= h <= MAX_SIDE):
        raise FrameError(DropReason.BAD_SIZE, f'image of {w:d}x{h:d} pixels: expected sides of 1 to '
                                              f'{MAX_SIDE}; check the camera driver')
    if w * h > max_pixels:
        raise FrameError(DropReason.TOO_LARGE, f'image of {w}x{h} = {w * h} pixels: expected at most '
                                               f'{max_pixels}; lower the resolution or raise max_pixels')
    return w, h


def byte_view(data: Any) -> memoryview:
    """A flat view, without a copy, of an array.array, ndarray, bytes or any other buffer of bytes.

    Raises:
        FrameError: BAD_FORMAT if it is not a contiguous buffer of bytes.
    """
    try:
        view = memoryview(data)
    except (TypeError, ValueError, BufferError):
        view = None
    if view is None or view.itemsize != 1 or not view.c_contiguous:
        raise FrameError(DropReason.BAD_FORMAT, f'data of type {type(data).__name__}: '
                                                'expected a contiguous buffer of bytes')
    return view.cast('B') if view.nbytes else memoryview(b'')
