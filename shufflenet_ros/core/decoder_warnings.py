# SPDX-License-Identifier: Apache-2.0
"""Captures the warnings of libjpeg and libpng, which OpenCV only lets them print to C's `stderr`.

glibc lets a program set the variable `stderr` (its manual: "normal variables which you can set just like
any others"). While an image is decoded it points at a file in memory. File descriptor 2 is not touched: it
may be closed, and Python's stderr, faulthandler, C++'s cerr and child processes work as usual. What another
thread prints through C's stderr meanwhile is passed on a moment later.
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
_UNBUFFERED = 2  # _IONBF: output is in the file at once
_KEPT_BYTES = 1 << 20
_DECODERS = re.compile(  # libjpeg's warnings (jerror.h) and everything of libpng
    r'Corrupt JPEG data: |Premature end of JPEG|Inconsistent progression|Invalid SOS parameters|'
    r'Unknown Adobe color transform|Warning: unknown JFIF revision|libpng (warning|error): ')


class WarningCapture:
    """Runs a decoder and returns what it printed. Thread-safe; one decoder runs at a time.

    Raises:
        OSError, ValueError, AttributeError: this system's C library does not allow it.
    """

    def __init__(self) -> None:
        libc = ctypes.CDLL(None)
        if not hasattr(libc, 'gnu_get_libc_version'):
            raise OSError('the C library is not glibc: its stderr is not a variable')
        self._stderr = ctypes.c_void_p.in_dll(libc, 'stderr')
        file = os.memfd_create('decoder-warnings')
        # Where descriptor 2 is closed, the file must not get its number.
        self._fd = fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, 3)
        os.close(file)
        fdopen = libc.fdopen
        fdopen.restype, fdopen.argtypes = ctypes.c_void_p, (ctypes.c_int, ctypes.c_char_p)
        # Never closed: another thread may have read the pointer just before it was restored.
        self._file = fdopen(self._fd, b'w')
        libc.setvbuf(ctypes.c_void_p(self._file), None, _UNBUFFERED, ctypes.c_size_t(0))
        self._lock = threading.Lock()
        self._read = 0

    def run(self, decode: Callable[[], T]) -> tuple[T, str]:
        """The result of decode, and the lines that libjpeg or libpng printed, joined by '; '."""
        with self._lock:
            real, self._stderr.value = self._stderr.value, self._file
            try:
                result = decode()
            finally:
                self._stderr.value = real
                printed = self._take() if os.lseek(self._fd, 0, os.SEEK_CUR) != self._read else ''
        return result, printed

    def _take(self) -> str:
        """The decoders' lines since the last call; other lines go to the real stderr."""
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
            pass  # closed, full, or gone: nowhere to report it
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
    """The result of decode, and what libjpeg or libpng printed.

    The latter is always '' on C libraries other than glibc and with SHUFFLENET_ROS_DECODER_WARNINGS=0; the
    warnings go to stderr then.
    """
    return (decode(), '') if _CAPTURE is None else _CAPTURE.run(decode)
