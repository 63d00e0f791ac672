# SPDX-License-Identifier: Apache-2.0
"""The worker that calls the engine's steps: a thread on the robot, or a test with a simulated clock."""

import logging
import signal
import threading
import time
from collections.abc import Callable
from typing import Protocol

from shufflenet_ros.core.throttle import LogThrottle

LOG = logging.getLogger(__name__)
StepCallback = Callable[[], bool]


class Worker(Protocol):
    """Calls `step` each time `wait` returns True."""

    def start(self, step: StepCallback, wait: StepCallback) -> None:
        """Start, and return at once.

        Args:
            step: handles one frame; False when none waits.
            wait: blocks until a frame waits; False ends this run.
        """

    def stop(self, timeout: float) -> bool:
        """Wait at most timeout seconds for the ended run's last step; True if it finished.

        Called after `wait` has begun to return False.
        """


class ThreadWorker:
    """One daemon thread that sleeps in `wait` while there is nothing to do.

    It is a daemon so that a handler that hangs in native code does not keep the process from ending.
    """

    def __init__(self, name: str = 'engine') -> None:
        self._name = name
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._logs = LogThrottle(time.monotonic)

    def start(self, step: StepCallback, wait: StepCallback) -> None:
        """See Worker. The new thread first waits for the last step of the previous run."""
        with self._lock:
            arguments = (step, wait, self._thread)
            run = threading.Thread(target=self._run, args=arguments, name=self._name, daemon=True)
            run.start()
            self._thread = run

    def stop(self, timeout: float) -> bool:
        """See Worker. In the thread itself it returns False at once: no thread can wait for its own end."""
        with self._lock:
            thread = self._thread
        if thread is None:
            return True
        if thread is threading.current_thread():
            return False
        thread.join(max(timeout, 0.0))
        return not thread.is_alive()

    def _run(self, step: StepCallback, wait: StepCallback, previous: threading.Thread | None) -> None:
        if previous is not None:
            previous.join()
            previous = None
        while True:
            try:
                if not wait():
                    return
                step()
            except Exception:
                # A step guards its handler, so only something like exhausted memory gets here. Without
                # its thread the node would stay up and never publish again.
                if (suppressed := self._logs.admit('step')) is not None:
                    LOG.exception('worker: a step failed (%d more not shown)', suppressed)
            except BaseException:
                # SystemExit and KeyboardInterrupt ask to end the process. Python would silently end only
                # this thread, so pass it to the main thread as the signal it listens to.
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
                return
