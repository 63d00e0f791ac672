"""Read a file that somebody else wrote: once, regular files only, never more than a limit."""

import hashlib
import os
import stat
from pathlib import Path

from shufflenet_ros.backends.errors import ModelError, mismatch

_KINDS = {
    stat.S_IFDIR: 'a directory', stat.S_IFIFO: 'a FIFO', stat.S_IFSOCK: 'a socket',
    stat.S_IFCHR: 'a character device', stat.S_IFBLK: 'a block device',
}


def read_regular(path: Path, limit: int) -> bytes:
    """All bytes of a regular file.

    Raises:
        ModelError: not there, not readable, not a regular file, empty, or larger than limit bytes.
    """
    try:
        # Without O_NONBLOCK, opening a FIFO waits for its writer for ever.
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), 'rb') as file:
            status = os.fstat(file.fileno())
            kind = stat.S_IFMT(status.st_mode)
            if kind != stat.S_IFREG:
                got = _KINDS.get(kind, 'something else')
                raise mismatch(str(path), 'a regular file', got, _hint(path, kind))
            if status.st_size > limit:
                raise _too_large(path, limit, f'{status.st_size} bytes')
            data = file.read(limit + 1)
    except (OSError, ValueError) as error:
        if isinstance(error, ModelError):
            raise
        cause = error.strerror if isinstance(error, OSError) else str(error)
        raise ModelError(f'{path}: cannot be read: {cause}; check the path and its permissions') from error
    if len(data) > limit:
        raise _too_large(path, limit, 'more')
    if not data:
        raise mismatch(str(path), 'a file with content', '0 bytes', 'copy or download it again')
    return data


def _too_large(path: Path, limit: int, got: str) -> ModelError:
    return mismatch(str(path), f'at most {limit} bytes', got, 'check that this is the right file')


def _hint(path: Path, kind: int) -> str:
    models = sorted(p.name for p in path.glob('*.onnx')) if kind == stat.S_IFDIR else []
    return f'name one of its files: {", ".join(models[:5])}' if models else 'name the model file itself'


def sha256_of(data: bytes) -> str:
    """64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()
