# SPDX-License-Identifier: Apache-2.0
"""A run's folder: its lock, and its checkpoint."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from shufflenet_ros.core.files import locked, open_regular
from shufflenet_ros.importers.state_file import MAX_BYTES
from shufflenet_ros.zoo.errors import ZooError
from shufflenet_ros.zoo.normalization import Normalization

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


def load_checkpoint(path: Path, remedy: str) -> dict[str, Any]:
    """The plain values and tensors in a checkpoint of any verb. Reading it runs no code.

    Raises:
        ZooError: a file that is missing, damaged, larger than 1 GiB or of another program.
    """
    try:
        with open_regular(path) as file:
            if (size := os.fstat(file.fileno()).st_size) > MAX_BYTES:
                raise ValueError(f'{size} bytes, more than {MAX_BYTES}')
            state = torch.load(file, map_location='cpu', weights_only=True)
        if not isinstance(state, dict):
            raise TypeError(f'it is a {type(state).__name__}')
    except Exception as error:  # a damaged or hostile pickle can make torch raise anything
        reason = f'{type(error).__name__}: {" ".join(str(error).split())[:200]}'
        raise ZooError(f'{path} cannot be read ({reason}): expected a checkpoint of plain tensors, from '
                       f'`shufflenet-ros train` or `models import`; {remedy}') from error
    return state


def read_checkpoint(run: Path) -> dict[str, Any] | None:
    """The run's state, or None if it has none yet.

    Raises:
        ZooError: a file that is damaged or of another program.
    """
    path, remedy = run / FILE, 'delete it, or choose another --out'
    if not path.exists():
        return None
    state = load_checkpoint(path, remedy)
    if missing := _KEYS - set(state):
        raise ZooError(f'{path} lacks {", ".join(sorted(missing))}: expected a checkpoint of this version of '
                       f'`shufflenet-ros train`; {remedy}')
    return state


def read_normalization(state: Mapping[str, Any]) -> Normalization:
    """The normalization of a checkpoint.

    Raises:
        KeyError, TypeError: it is missing or has another form.
    """
    mean, std = (tuple(map(float, state['normalization'][key])) for key in ('mean', 'std'))
    return Normalization(mean, std)  # type: ignore[arg-type]  # three numbers each
