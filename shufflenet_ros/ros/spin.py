"""A spin that nothing ends but a signal.

In rclpy any exception in a callback ends `spin()`, and a SetParameters request of an unknown type
raises inside rclpy's own service, out of reach of a guard around our callbacks. So the guard stands
around `spin_once`.
"""

import time
from collections.abc import Callable

from rclpy.executors import Executor

TIMEOUT_S = 1.0
PAUSE_AFTER_ERROR_S = 0.005  # an error that comes back at once must not take a whole core


def spin_guarded(executor: Executor, until: Callable[[], bool],
                 on_error: Callable[[Exception], None]) -> None:
    """Run callbacks until `until()`; an exception of any of them goes to on_error, and the spin goes on."""
    while not until():
        try:
            executor.spin_once(timeout_sec=TIMEOUT_S)
        except Exception as error:  # rclpy's own services raise too: see above
            on_error(error)
            time.sleep(PAUSE_AFTER_ERROR_S)
