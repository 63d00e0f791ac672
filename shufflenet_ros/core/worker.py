"""Who calls the engine's steps: one thread on the robot, the test itself on a simulated clock."""

import logging
import signal
import threading
import time
from collections.abc import Callable
from typing import Protocol

from shufflenet_ros.core.throttle import LogThrottle

LOG = logging.getLogger(__name__)
Ask = Callable[[], bool]


class Worker(Protocol):
    """Calls `step` whenever `wait` says that there may be something to do."""

    def start(self, step: Ask, wait: Ask) -> None:
        """Begin, and return at once.

        Args:
            step: handles one frame; False when nothing waits.
            wait: blocks until a frame waits; False means that this run is over.
        """

    def stop(self, timeout: float) -> bool:
        """Wait at most timeout seconds for a run that is over to end; True if it did.

        It is called after `wait` has begun to say False.
        """


class ThreadWorker:
    """One daemon thread, asleep in `wait` while there is nothing to do.

    A daemon, because a handler that hangs in native code must not keep the process from ending.
    """

    def __init__(self, name: str = 'engine') -> None:
        self._name = name
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._logs = LogThrottle(time.monotonic)

    def start(self, step: Ask, wait: Ask) -> None:
        """See Worker. A run that is still in its last step is waited for, in the new thread."""
        with self._lock:
            arguments = (step, wait, self._thread)
            run = threading.Thread(target=self._run, args=arguments, name=self._name, daemon=True)
            run.start()
            self._thread = run

    def stop(self, timeout: float) -> bool:
        """See Worker. False at once when the thread itself asks: it cannot wait for its own end."""
        with self._lock:
            thread = self._thread
        if thread is None:
            return True
        if thread is threading.current_thread():
            return False
        thread.join(max(timeout, 0.0))
        return not thread.is_alive()

    def _run(self, step: Ask, wait: Ask, previous: threading.Thread | None) -> None:
        if previous is not None:
            previous.join()
            previous = None
        while True:
            try:
                if not wait():
                    return
                step()
            except Exception:
                # A step guards its handler, so only something like an exhausted memory gets here;
                # ending the thread would leave a node that lives and never answers again.
                if (suppressed := self._logs.admit('step')) is not None:
                    LOG.exception('worker: a step failed (%d more not shown)', suppressed)
            except BaseException:
                # SystemExit and KeyboardInterrupt are a wish to end the process. Python would let them
                # end this thread in silence, so the main thread gets it as the signal it listens to.
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
                return
