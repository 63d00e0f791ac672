"""A run's state on disk: whole or not there, whatever interrupts the writing."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from shufflenet_ros.core.files import check_regular
from shufflenet_ros.zoo.errors import ZooError
from shufflenet_ros.zoo.saving import save_whole

FILE = 'checkpoint.pt'
_LOCK = '.lock'
_KEYS = {'recipe', 'network', 'labels', 'normalization', 'init', 'sets', 'start', 'model', 'ema',
         'optimizer', 'epoch', 'step', 'partial', 'history'}


@contextmanager
def hold(run: Path) -> Iterator[None]:
    """Make the folder of a run and keep other processes from it; the end of this one frees it, too.

    Raises:
        ZooError: it is no folder, cannot be written, or another process trains into it.
    """
    try:
        run.mkdir(parents=True, exist_ok=True)
        lock = (run / _LOCK).open('w')
    except OSError as error:
        raise ZooError(f'--out {run}: {error.strerror}; expected a folder that can be made and written; '
                       'choose another') from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ZooError(f'--out {run}: another process trains into it; wait for it, or choose another '
                           '--out') from error
        yield


def write_checkpoint(run: Path, state: dict[str, Any]) -> None:
    """Replace the run's checkpoint, so that a power cut leaves the old one or the new one.

    Args:
        state: plain values and tensors alone, so that reading it runs no code.

    Raises:
        WriteError: it cannot be written; the old one stays.
    """
    save_whole(run / FILE, state)


def read_checkpoint(run: Path) -> dict[str, Any] | None:
    """The run's state, None where it has none yet.

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
        found = f'has no {", ".join(sorted(missing))}' if isinstance(state, dict) else 'is no dictionary'
        raise ZooError(f'{path} {found}: expected a checkpoint of this version of `shufflenet-ros train`; '
                       'delete it, or choose another --out')
    return state
