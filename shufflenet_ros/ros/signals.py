"""SIGINT and SIGTERM end the process within two seconds, with status 0 and without a traceback.

Imports little and nothing slow, so that signals are in hand a few milliseconds after the package's first
line. What comes before that ends the process as Python's default does.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable

GRACE_S = 1.5
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSignals:
    """SIGINT and SIGTERM, noticed at once even while the main thread is inside C code.

    A thread waits for the signal, wakes the executor, and ends the process with status 0 itself
    where the main thread has not done so within GRACE_S: loading a model or a long inference cannot
    be interrupted in another way.
    """

    def __init__(self) -> None:
        # One that comes half way through this waits for its end; there it finds its handler complete.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        self._stopped = threading.Event()
        self._wakers: list[Callable[[], object]] = []
        self._read, write = os.pipe()
        os.set_blocking(write, False)
        for number in _SIGNALS:
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        threading.Thread(target=self._wait, name='signals', daemon=True).start()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

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
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    def _wait(self) -> None:
        while not set(os.read(self._read, 64)) & set(_SIGNALS):
            pass
        self._stopped.set()
        for wake in self._wakers:
            try:
                wake()
            except Exception:  # what it wakes may be gone already
                pass
        time.sleep(GRACE_S)
        leave()


def leave(status: int = 0) -> None:
    """End the process now, with threads still inside C code.

    Where Python ends while one of them runs a model, the destructors of onnxruntime abort the process.
    """
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)
