"""OpenCV, imported in one place: its limits must stand in the environment before it is loaded.

Every module takes it from here (`from shufflenet_ros.core.opencv import cv2`). The pixel limit is a second
belt: `core.compressed` reads a picture's size before OpenCV sees it, but other libraries in the same
process may not. An operator's own value of the variable wins.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from shufflenet_ros.core.reasons import Dropped, Reason

IO_MAX_PIXELS = 1 << 27
os.environ.setdefault('OPENCV_IO_MAX_IMAGE_PIXELS', str(IO_MAX_PIXELS))

import cv2 as cv2  # noqa: E402


@contextmanager
def opencv_errors_as(reason: Reason, what: str) -> Iterator[None]:
    """Turn what OpenCV and NumPy raise inside the block into Dropped.

    Raises:
        Dropped: NO_MEMORY where memory ran out, else `reason` with OpenCV's own words.
    """
    try:
        yield
    except MemoryError as error:
        raise Dropped(Reason.NO_MEMORY, f'{what}: no memory for the picture') from error
    except cv2.error as error:
        if getattr(error, 'code', None) == cv2.Error.StsNoMem:
            raise Dropped(Reason.NO_MEMORY, f'{what}: no memory for the picture') from error
        raise Dropped(reason, f'{what}: OpenCV refuses it: {getattr(error, "err", error)}') from error
