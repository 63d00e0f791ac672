"""What training writes: values of torch in files that are whole or not there, arrays whose room is taken."""

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from shufflenet_ros.core.files import write_whole


def save_whole(path: Path, values: dict[str, Any]) -> None:
    """Write what `torch.load(..., weights_only=True)` reads.

    Raises:
        WriteError: it cannot be written; an old file stays.
    """
    buffer = io.BytesIO()  # writing to a file itself, torch hides the cause of a failure
    torch.save(values, buffer)
    write_whole(path, buffer.getvalue())


def mapped_array(path: Path, shape: tuple[int, ...], dtype: npt.DTypeLike) -> 'np.memmap[Any, Any]':
    """A new .npy file as an array, its room taken at once: on a full disk, writing into a hole would kill us.

    Raises:
        OSError: there is no room.
    """
    array = np.lib.format.open_memmap(path, 'w+', dtype, shape)
    with path.open('r+b') as file:
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array
