# SPDX-License-Identifier: Apache-2.0
"""Exceptions in callbacks: the node keeps running, counts them and reports them.

In rclpy any exception in a callback ends `spin()`, and a SetParameters request with an unknown type raises
inside rclpy's own service, where our callbacks cannot catch it. So the guard is around `spin_once`.
"""

import time
import traceback
from collections import deque
from collections.abc import Callable
from typing import Any

from rclpy.executors import Executor
from rclpy.impl.rcutils_logger import RcutilsLogger

from shufflenet_ros.core.text import one_line, printable
from shufflenet_ros.core.throttle import LogThrottle

SPIN_TIMEOUT_S = 1.0
PAUSE_AFTER_ERROR_S = 0.005  # a repeated error must not use a whole core
ERROR_SHOWN_S = 10.0


def spin_guarded(executor: Executor, until: Callable[[], bool],
                 on_error: Callable[[Exception], None]) -> None:
    """Run callbacks until `until()` is true; pass their exceptions to on_error and continue."""
    while not until():
        try:
            executor.spin_once(timeout_sec=SPIN_TIMEOUT_S)
        except Exception as error:
            on_error(error)
            time.sleep(PAUSE_AFTER_ERROR_S)


class CallbackErrors:
    """Exceptions in callbacks: all are counted, some are logged, those of the last 10 s are reported.

    No number of them ends the node, because anybody on the network can cause most of them.

    Attributes:
        total: in all callbacks.
        images: in the image callback.
    """

    def __init__(self, logger: RcutilsLogger):
        self._logger = logger
        self._throttle = LogThrottle(time.monotonic)
        self._times: deque[float] = deque(maxlen=10_000)
        self._last = ''
        self.total = self.images = 0

    def note(self, error: Exception) -> None:
        """Record an exception in one of our callbacks or of rclpy's."""
        self.total += 1
        self._times.append(time.monotonic())
        self._last = printable(f'{type(error).__name__}: {error}')
        more = self._throttle.admit(type(error).__name__)
        if more is not None:
            lines = ''.join(traceback.format_exception(error)).splitlines()
            where = '\n'.join(map(one_line, lines))  # the error's text may come from the network
            self._logger.error(f'a callback failed, the node keeps running ({more} more not shown):\n{where}')

    def note_image(self, error: Exception) -> None:
        """Record an exception in the image callback, whose frame is lost uncounted."""
        self.images += 1
        self.note(error)

    def text(self) -> str:
        """A message about the last ten seconds; '' without errors."""
        n = self._recent()
        return f'a callback failed: {self._last} ({n} in the last {ERROR_SHOWN_S:g} s)' if n else ''

    def values(self) -> dict[str, Any]:
        """Values for /diagnostics."""
        return {'callback_errors': self.total, 'image_callback_errors': self.images,
                'callback_errors_hz': f'{self._recent() / ERROR_SHOWN_S:.1f}',
                'last_callback_error': self._last}

    def _recent(self) -> int:
        while self._times and self._times[0] < time.monotonic() - ERROR_SHOWN_S:
            self._times.popleft()
        return len(self._times)
