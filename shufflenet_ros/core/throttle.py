"""Fewer log lines: the first at once, then at most one a key and period."""

import threading
from collections.abc import Callable, Hashable


class LogThrottle:
    """Says whether a line may be logged now, and how many like it were not.

    Keys should come from a closed list (reasons, hook names): each one seen is remembered.
    Any thread may ask.
    """

    def __init__(self, clock: Callable[[], float], period_s: float = 5.0) -> None:
        """Take a steady clock in seconds, and the seconds between two lines of one key."""
        self._clock, self._period = clock, period_s
        self._lock = threading.Lock()
        self._keys: dict[Hashable, tuple[float, int]] = {}  # last line at, suppressed since

    def admit(self, key: Hashable) -> int | None:
        """The number of lines suppressed since the last one of this key, or None to log nothing now."""
        now = self._clock()
        with self._lock:
            last, suppressed = self._keys.get(key, (None, 0))
            if last is not None and now - last < self._period:
                self._keys[key] = (last, suppressed + 1)
                return None
            self._keys[key] = (now, 0)
            return suppressed
