# SPDX-License-Identifier: Apache-2.0
"""Captures the warnings of libjpeg and libpng. With OpenCV they can only print them to C's `stderr`.

glibc lets a program set the variable `stderr` (its manual: "normal variables which you can set just like
any others"). While an image is decoded, it points to a file in memory. File descriptor 2 is not touched: it
may be closed, and Python's stderr, faulthandler, C++'s cerr and child processes work as usual. Lines that
other threads print through C's stderr meanwhile are passed on a moment later.
"""

import ctypes
import fcntl
import os
import re
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar('T')

ENVIRONMENT = 'SHUFFLENET_ROS_DECODER_WARNINGS'
_UNBUFFERED = 2  # _IONBF: output is in the file at once
_KEPT_BYTES = 1 << 20
_DECODERS = re.compile(  # libjpeg's warnings (jerror.h) and everything of libpng
    rb'Corrupt JPEG data: |Premature end of JPEG|Inconsistent progression|Invalid SOS parameters|'
    rb'Unknown Adobe color transform|Warning: unknown JFIF revision|libpng (warning|error): ')


class WarningCapture:
    """Runs a decoder and returns its warnings. Thread-safe; one decoder runs at a time.

    Raises:
        OSError, ValueError, AttributeError: the C library does not allow this.
    """

    def __init__(self) -> None:
        libc = ctypes.CDLL(None)
        if not hasattr(libc, 'gnu_get_libc_version'):
            raise OSError('the C library is not glibc: its stderr is not a variable')
        self._stderr = ctypes.c_void_p.in_dll(libc, 'stderr')
        file = os.memfd_create('decoder-warnings')
        # If descriptor 2 is closed, the file must not get its number.
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
        """The result of decode, and the lines that libjpeg or libpng printed, joined with '; '."""
        with self._lock:
            real, self._stderr.value = self._stderr.value, self._file
            try:
                result = decode()
            finally:
                self._stderr.value = real
                printed = self._take() if os.lseek(self._fd, 0, os.SEEK_CUR) != self._read else ''
        return result, printed

    def _take(self) -> str:
        """The decoders' lines since the last call; other lines go to descriptor 2."""
        data = os.pread(self._fd, os.lseek(self._fd, 0, os.SEEK_CUR) - self._read, self._read)
        self._read += len(data)
        if self._read > _KEPT_BYTES:
            os.ftruncate(self._fd, 0)
            self._read = os.lseek(self._fd, 0, os.SEEK_SET)
        warnings: list[bytes] = []
        others: list[bytes] = []
        for line in data.splitlines(keepends=True):
            (warnings if _DECODERS.match(line) else others).append(line)
        with suppress(OSError):  # closed, full, or gone: nowhere to report it
            os.write(2, b''.join(others))
        return b'; '.join(map(bytes.strip, warnings)).decode('utf-8', 'surrogateescape')


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

    Without glibc, or with SHUFFLENET_ROS_DECODER_WARNINGS=0, that is always '' and they print to stderr.
    """
    return (decode(), '') if _CAPTURE is None else _CAPTURE.run(decode)
