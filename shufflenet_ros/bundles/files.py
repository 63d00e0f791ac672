"""Read a file that somebody else wrote: once, regular files only, never more than a limit."""

import hashlib
import os
from pathlib import Path

from shufflenet_ros.bundles.errors import ModelError, mismatch
from shufflenet_ros.core.files import kind_of


def read_regular(path: Path, limit: int) -> bytes:
    """All bytes of a regular file.

    Raises:
        ModelError: not there, not readable, not a regular file, empty, or larger than limit bytes.
    """
    try:
        # Without O_NONBLOCK, opening a FIFO waits for its writer for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            _check(path, os.fstat(descriptor), limit)
            with open(descriptor, 'rb', closefd=False) as file:
                data = file.read(limit + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from error
    except ModelError:
        raise
    except ValueError as error:  # Such as a NUL in the path.
        raise _unreadable(path, str(error)) from error
    if len(data) > limit:
        raise _too_large(path, limit, 'more')
    if not data:
        raise mismatch(str(path), 'a file with content', '0 bytes', 'copy or download it again')
    return data


def _check(path: Path, status: os.stat_result, limit: int) -> None:
    if kind := kind_of(status):
        raise mismatch(str(path), 'a regular file', kind, _hint(path))
    if status.st_size > limit:
        raise _too_large(path, limit, f'{status.st_size} bytes')


def _unreadable(path: Path, cause: str) -> ModelError:
    return ModelError(f'{path}: cannot be read: {cause}; check the path and its permissions')


def _too_large(path: Path, limit: int, got: str) -> ModelError:
    return mismatch(str(path), f'at most {limit} bytes', got, 'check that this is the right file')


def _hint(path: Path) -> str:
    models = sorted(p.name for p in path.glob('*.onnx')) if path.is_dir() else []
    return f'name one of its files: {", ".join(models[:5])}' if models else 'name the model file itself'


def sha256_of(data: bytes) -> str:
    """64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()
