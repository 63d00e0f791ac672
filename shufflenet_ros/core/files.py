# SPDX-License-Identifier: Apache-2.0
"""Files on a robot: reads never block, writes are whole or absent, locks end with the process."""

import errno
import fcntl
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from shufflenet_ros.core.errors import ShuffleNetError

_KINDS = {
    stat.S_IFDIR: 'a directory', stat.S_IFIFO: 'a FIFO', stat.S_IFSOCK: 'a socket',
    stat.S_IFCHR: 'a character device', stat.S_IFBLK: 'a block device',
}

_REMEDIES = {
    errno.ENOSPC: 'free some space there, or choose another path',
    errno.EDQUOT: 'free some space there, or choose another path',
    errno.EFBIG: 'raise the limit of file sizes (ulimit -f), or choose another path',
    errno.ENOENT: 'make the folder first, or choose another path',
}


class WriteError(ShuffleNetError):
    """A file that cannot be written; no part of it is left. The message has path, cause and remedy."""


def kind_of(status: os.stat_result) -> str:
    """The kind of a file that is not regular, in words; '' for a regular file."""
    kind = stat.S_IFMT(status.st_mode)
    return '' if kind == stat.S_IFREG else _KINDS.get(kind, 'something else')


def check_regular(path: Path, status: os.stat_result | None = None) -> None:
    """Check a file before a library opens it: opening a FIFO would wait forever for a writer.

    Args:
        status: of the open file; None to look at the path.

    Raises:
        OSError: missing, or not a regular file; says what it is.
    """
    if kind := kind_of(status or path.stat()):
        raise OSError(errno.EINVAL, f'expected a regular file, got {kind}', str(path))


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading; never wait for a FIFO or a device.

    Raises:
        OSError: missing, not readable, or not a regular file; says what it is.
    """
    # Without O_NONBLOCK, opening a FIFO waits forever for a writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        check_regular(path, os.fstat(descriptor))
        return open(descriptor, 'rb')
    except BaseException:
        os.close(descriptor)
        raise


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a draft path, which replaces `path` in one step if the block ends without an error.

    The draft has the same name, in a temporary folder next to the target, and is synced to disk first. So a
    reader finds the old file or the new one, never half, even after a power cut.

    Raises:
        WriteError: instead of an OSError of the block or of the replacement; the draft is removed.
    """
    target = Path(os.path.realpath(path))  # a link stays a link
    with writing(path):
        if target.exists():
            check_regular(target)  # otherwise /dev/null would become a file
        with tempfile.TemporaryDirectory(prefix='.draft-', dir=target.parent) as folder:
            draft = Path(folder) / target.name
            yield draft
            if target.exists():
                draft.chmod(stat.S_IMODE(target.stat().st_mode))
            _sync(draft)
            os.replace(draft, target)
        with suppress(OSError):  # some file systems cannot
            _sync(target.parent)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file in one step; see `replacing`.

    Raises:
        WriteError: the file cannot be written.
    """
    with replacing(path) as draft:
        draft.write_bytes(data)


@contextmanager
def writing(path: Path, remedy: str = '') -> Iterator[None]:
    """Turn an OSError into a WriteError that names the file and a remedy.

    Args:
        remedy: in place of the usual one.

    Raises:
        WriteError: in place of an OSError.
    """
    try:
        yield
    except BrokenPipeError:
        raise  # from standard output, never from a file
    except (OSError, WriteError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__  # of a draft inside a draft
        if not isinstance(cause, OSError):
            raise
        advice = remedy or _REMEDIES.get(cause.errno or 0, 'choose another path, or change its permissions')
        raise WriteError(f'{path} cannot be written: {cause.strerror or cause}; {advice}') from cause


@contextmanager
def locked(path: Path, on_wait: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Lock the file `path`, which is created if it is missing; wait while another process has the lock.

    The kernel releases the lock when the process ends, however it ends. The file stays, because unlinking
    would be a race.

    Args:
        on_wait: called once before waiting; it may raise instead.

    Raises:
        WriteError: the file cannot be created.
    """
    with writing(path.parent):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    with open(descriptor, 'rb') as file:
        with writing(path):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                on_wait()
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
