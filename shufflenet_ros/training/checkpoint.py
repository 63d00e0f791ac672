# SPDX-License-Identifier: Apache-2.0
"""A run's folder: its lock, and its checkpoint, which is whole or absent."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from shufflenet_ros.core.files import check_regular, locked
from shufflenet_ros.zoo.errors import ZooError
from shufflenet_ros.zoo.saving import save_state

FILE = 'checkpoint.pt'
_LOCK = '.lock'
_KEYS = {'recipe', 'network', 'labels', 'normalization', 'init', 'datasets', 'origin', 'model', 'ema',
         'optimizer', 'epoch', 'step', 'partial', 'history'}


@contextmanager
def lock_run(run: Path) -> Iterator[None]:
    """Create the folder of a run and keep other processes out, until the block or the process ends.

    Raises:
        ZooError: it is not a folder, or another process trains into it.
        WriteError: the folder cannot be written.
    """
    def busy() -> None:
        raise ZooError(f'--out {run}: another process trains into it; wait for it, or choose another --out')

    try:
        run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ZooError(f'--out {run}: {error.strerror}; expected a folder that can be created and written; '
                       'choose another') from error
    with locked(run / _LOCK, on_wait=busy):
        yield


def write_checkpoint(run: Path, state: dict[str, Any]) -> None:
    """Replace the run's checkpoint; a power cut leaves the old one or the new one.

    Args:
        state: only plain values and tensors, so that reading it runs no code.

    Raises:
        WriteError: it cannot be written; the old one stays.
    """
    save_state(run / FILE, state)


def read_checkpoint(run: Path) -> dict[str, Any] | None:
    """The run's state, or None if it has none yet.

    Raises:
        ZooError: a file that is damaged or of another program.
    """
    path = run / FILE
    if not path.exists():
        return None
    try:
        check_regular(path)
        state: dict[str, Any] = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # torch raises some ten classes for a damaged file
        reason = f'{type(error).__name__} {error}'.splitlines()[0][:120]
        raise ZooError(f'{path} cannot be read ({reason}): expected a checkpoint of `shufflenet-ros train`; '
                       'delete it, or choose another --out') from error
    if not isinstance(state, dict) or (missing := _KEYS - set(state)):
        problem = f'lacks {", ".join(sorted(missing))}' if isinstance(state, dict) else 'is not a dictionary'
        raise ZooError(f'{path} {problem}: expected a checkpoint of this version of `shufflenet-ros train`; '
                       'delete it, or choose another --out')
    return state
