# SPDX-License-Identifier: Apache-2.0
"""The thread in which the engine handles frames."""

import logging
import signal
import threading
import time
from collections.abc import Callable

from shufflenet_ros.core.throttle import LogThrottle

LOG = logging.getLogger(__name__)


class ThreadWorker:
    """Calls a function over and over in a daemon thread, until it returns False.

    A daemon thread, because a handler that hangs in native code must not keep the process from ending.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._logs = LogThrottle(time.monotonic)

    def start(self, work: Callable[[], bool]) -> None:
        """Start a thread, which first waits for the end of the previous one."""
        with self._lock:
            arguments = (work, self._thread)
            thread = threading.Thread(target=self._run, args=arguments, name='engine', daemon=True)
            thread.start()
            self._thread = thread

    def stop(self, timeout: float) -> bool:
        """Wait at most timeout seconds for the thread to end by itself; True if it has.

        Called in the thread itself, it returns False at once: no thread can wait for its own end.
        """
        with self._lock:
            thread = self._thread
        if thread is None:
            return True
        if thread is threading.current_thread():
            return False
        thread.join(max(timeout, 0.0))
        return not thread.is_alive()

    def _run(self, work: Callable[[], bool], previous: threading.Thread | None) -> None:
        if previous is not None:
            previous.join()
            previous = None
        while True:
            try:
                if not work():
                    return
            except Exception:
                # The engine guards its handler, so only something like exhausted memory gets here. Without
                # its thread the node would stay up and never publish again.
                if (suppressed := self._logs.admit('work')) is not None:
                    LOG.exception('worker: a step failed (%d more not shown)', suppressed)
            except BaseException:
                # SystemExit and KeyboardInterrupt ask to end the process. Python would silently end only
                # this thread, so pass it to the main thread as the signal it listens to.
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
                return
