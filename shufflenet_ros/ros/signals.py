# SPDX-License-Identifier: Apache-2.0
"""SIGINT and SIGTERM end the process within two seconds, with status 0 and without a traceback.

It imports only little and nothing slow, so that the handlers are installed a few milliseconds after the
package's first line. An earlier signal ends the process in Python's default way.
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
    """Handles SIGINT and SIGTERM at once, even while the main thread runs C code.

    A thread waits for the signal and wakes the executor. If the main thread has not ended the process within
    GRACE_S, the thread does, with status 0: nothing else can interrupt loading a model or a long inference.
    """

    def __init__(self) -> None:
        # A signal that arrives meanwhile is delivered at the end, when its handler is complete.
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
        """Call `wake` in the signal thread when a signal comes."""
        self._wakers.append(wake)
        if self.stopped():
            wake()

    def ignore_signals(self) -> None:
        """Ignore signals: at its end Python restores the default, and a second Ctrl-C would kill it."""
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    def _wait(self) -> None:
        while not set(os.read(self._read, 64)) & set(_SIGNALS):
            pass
        self._stopped.set()
        for wake in self._wakers:
            try:
                wake()
            except Exception:  # its target may already be destroyed
                pass
        time.sleep(GRACE_S)
        exit_now()


def exit_now(status: int = 0) -> None:
    """End the process now, even with threads inside C code.

    If Python ended while one of them runs a model, onnxruntime's destructors would abort the process.
    """
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)
