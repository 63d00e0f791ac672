"""What libjpeg and libpng say of a file: OpenCV has them print it to C's `stderr`, and tells nobody.

glibc lets a program set the variable `stderr` (its manual: "normal variables which you can set just like
any others"). So while one image is decoded it points at a file in memory. File descriptor 2 stays what it
is: Python's own stderr, faulthandler, C++'s cerr and child processes are not touched, and it may be closed.
What another thread prints through C's stderr in that time is passed on a moment later.
"""

import ctypes
import fcntl
import os
import re
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar('T')

ENVIRONMENT = 'SHUFFLENET_ROS_DECODER_WARNINGS'
_UNBUFFERED = 2  # _IONBF: what was printed is in the file at once
_KEPT_BYTES = 1 << 20
_DECODERS = re.compile(  # libjpeg's warnings (jerror.h) and whatever libpng says
    r'Corrupt JPEG data: |Premature end of JPEG|Inconsistent progression|Invalid SOS parameters|'
    r'Unknown Adobe color transform|Warning: unknown JFIF revision|libpng (warning|error): ')


class WarningCapture:
    """Runs a decoder and hands over what it printed. Any thread may call; one at a time is captured.

    Raises:
        OSError, ValueError, AttributeError: this system's C library does not allow it.
    """

    def __init__(self) -> None:
        libc = ctypes.CDLL(None)
        if not hasattr(libc, 'gnu_get_libc_version'):
            raise OSError('another C library than glibc: its stderr is no variable')
        self._stderr = ctypes.c_void_p.in_dll(libc, 'stderr')
        file = os.memfd_create('decoder-warnings')
        # Where descriptor 2 is closed the file could become it.
        self._fd = fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, 3)
        os.close(file)
        fdopen = libc.fdopen
        fdopen.restype, fdopen.argtypes = ctypes.c_void_p, (ctypes.c_int, ctypes.c_char_p)
        # Never closed: another thread may have taken the pointer just before it was put back.
        self._file = fdopen(self._fd, b'w')
        libc.setvbuf(ctypes.c_void_p(self._file), None, _UNBUFFERED, ctypes.c_size_t(0))
        self._lock = threading.Lock()
        self._read = 0

    def run(self, decode: Callable[[], T]) -> tuple[T, str]:
        """What decode returns, and the lines that libjpeg or libpng printed, joined by '; '."""
        with self._lock:
            real, self._stderr.value = self._stderr.value, self._file
            try:
                result = decode()
            finally:
                self._stderr.value = real
                said = self._take() if os.lseek(self._fd, 0, os.SEEK_CUR) != self._read else ''
        return result, said

    def _take(self) -> str:
        """What has been printed since the last time; others' lines go on to the real stderr."""
        data = os.pread(self._fd, os.lseek(self._fd, 0, os.SEEK_CUR) - self._read, self._read)
        self._read += len(data)
        if self._read > _KEPT_BYTES:
            os.ftruncate(self._fd, 0)
            self._read = os.lseek(self._fd, 0, os.SEEK_SET)
        lines = data.decode('utf-8', 'surrogateescape').splitlines(keepends=True)
        others = ''.join(line for line in lines if not _DECODERS.match(line))
        try:
            os.write(2, others.encode('utf-8', 'surrogateescape')) if others else 0
        except OSError:
            pass  # closed, full, or gone: there is nowhere to say it
        return '; '.join(line.strip() for line in lines if _DECODERS.match(line))


def _capture() -> WarningCapture | None:
    if os.environ.get(ENVIRONMENT, '1') == '0':
        return None
    try:
        return WarningCapture()
    except (OSError, ValueError, AttributeError):
        return None


_CAPTURE = _capture()


def with_warnings(decode: Callable[[], T]) -> tuple[T, str]:
    """What decode returns, and what libjpeg or libpng said meanwhile.

    Always '' on C libraries other than glibc and with SHUFFLENET_ROS_DECODER_WARNINGS=0; they print to
    stderr then.
    """
    return (decode(), '') if _CAPTURE is None else _CAPTURE.run(decode)
