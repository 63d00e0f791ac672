# SPDX-License-Identifier: Apache-2.0
"""Fewer log lines: the first at once, then at most one per key and period."""

import threading
from collections.abc import Callable, Hashable

_PERIOD_S = 5.0  # between two lines of one key


class LogThrottle:
    """Decides whether a line may be logged now, and counts those that were suppressed.

    All keys are kept, so they must come from a closed list (reasons, hook names). Thread-safe.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        """Use a steady clock in seconds."""
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: dict[Hashable, tuple[float, int]] = {}  # last line at, suppressed since

    def admit(self, key: Hashable) -> int | None:
        """How many lines were suppressed since the key's last one; None: do not log now."""
        now = self._clock()
        with self._lock:
            last, suppressed = self._keys.get(key, (None, 0))
            if last is not None and now - last < _PERIOD_S:
                self._keys[key] = (last, suppressed + 1)
                return None
            self._keys[key] = (now, 0)
            return suppressed
