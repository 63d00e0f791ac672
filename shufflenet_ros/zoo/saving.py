# SPDX-License-Identifier: Apache-2.0
"""Write a torch state: whole or not at all."""

import io
from pathlib import Path
from typing import Any

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
