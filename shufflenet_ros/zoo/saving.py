# SPDX-License-Identifier: Apache-2.0
"""Files that training writes: a torch state that is whole or absent, and arrays with their space reserved."""

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from shufflenet_ros.core.files import write_whole


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write a file that `torch.load(..., weights_only=True)` reads.

    Raises:
        WriteError: it cannot be written; an old file stays.
    """
    buffer = io.BytesIO()  # if torch wrote to the file itself, it would hide the cause of a failure
    torch.save(state, buffer)
    write_whole(path, buffer.getvalue())


def preallocated_array(path: Path, shape: tuple[int, ...], dtype: npt.DTypeLike) -> 'np.memmap[Any, Any]':
    """Map a new .npy file, with its space reserved. Without that, a full disk would kill the process later.

    Raises:
        OSError: there is not enough space.
    """
    array = np.lib.format.open_memmap(path, 'w+', dtype, shape)
    with path.open('r+b') as file:
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array
