# SPDX-License-Identifier: Apache-2.0
"""A spin that only a signal ends.

In rclpy any exception in a callback ends `spin()`, and a SetParameters request with an unknown type raises
inside rclpy's own service, where our callbacks cannot catch it. So the guard is around `spin_once`.
"""

import time
from collections.abc import Callable

from rclpy.executors import Executor

TIMEOUT_S = 1.0
PAUSE_AFTER_ERROR_S = 0.005  # a repeated error must not use a whole core


def spin_guarded(executor: Executor, until: Callable[[], bool],
                 on_error: Callable[[Exception], None]) -> None:
    """Run callbacks until `until()` is true; pass their exceptions to on_error and go on."""
    while not until():
        try:
            executor.spin_once(timeout_sec=TIMEOUT_S)
        except Exception as error:  # also from rclpy's own services, see above
            on_error(error)
            time.sleep(PAUSE_AFTER_ERROR_S)
