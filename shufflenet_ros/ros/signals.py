"""SIGINT and SIGTERM end the process within two seconds, with status 0 and without a traceback.

Imports the standard library alone, so that signals are in hand before the slow imports begin.
"""

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable

GRACE_S = 1.5


class StopSignals:
    """SIGINT and SIGTERM, noticed at once even while the main thread is inside C code.

    A thread waits for the signal, wakes the executor, and ends the process with status 0 itself
    where the main thread has not done so within GRACE_S: loading a model or a long inference cannot
    be interrupted in another way.
    """

    def __init__(self) -> None:
        self._stopped = threading.Event()
        self._wakers: list[Callable[[], object]] = []
        self._read, write = socket.socketpair()
        write.setblocking(False)
        self._write = write
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(write.fileno(), warn_on_full_buffer=False)
        threading.Thread(target=self._wait, name='signals', daemon=True).start()

    def stopped(self) -> bool:
        """Whether a signal came."""
        return self._stopped.is_set()

    def on_stop(self, wake: Callable[[], object]) -> None:
        """Call this, in the signal thread, when a signal comes."""
        self._wakers.append(wake)
        if self.stopped():
            wake()

    def ignore_more(self) -> None:
        """Ignore signals: where Python ends it restores their defaults, and a second Ctrl-C would kill."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)

    def _wait(self) -> None:
        while not set(self._read.recv(64)) & {signal.SIGINT, signal.SIGTERM}:
            pass
        self._stopped.set()
        for wake in self._wakers:
            with contextlib.suppress(Exception):  # what it wakes may be gone already
                wake()
        time.sleep(GRACE_S)
        leave()


def leave(status: int = 0) -> None:
    """End the process now, with threads still inside C code."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
