# SPDX-License-Identifier: Apache-2.0
"""Whether a camera sends images, and as fast as expected.

States and levels are those of Autoware's topic_state_monitor, which its users know.
"""

import math
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, IntEnum

_WARN_SHARE, _ERROR_SHARE = 0.8, 0.5  # of the expected rate; below them it is WarnRate, ErrorRate
_SPAN_S, _SPAN_FRAMES = 1.0, 10  # the rate is measured over the longer of the two
_MAX_ARRIVALS = 1000  # a camera that floods its topic must not fill the memory


class WatchState(str, Enum):
    """The state of a camera's topic."""

    OK = 'OK'
    NOT_RECEIVED = 'NotReceived'
    WARN_RATE = 'WarnRate'
    ERROR_RATE = 'ErrorRate'
    TIMEOUT = 'Timeout'

    def __str__(self) -> str:
        return self.value


class Level(IntEnum):
    """As in diagnostic_msgs/DiagnosticStatus."""

    OK = 0
    WARN = 1
    ERROR = 2


_LEVELS = {WatchState.OK: Level.OK, WatchState.WARN_RATE: Level.WARN}


def stall_level(processing_s: float, stall_s: float) -> Level:
    """The level for a frame's processing time: ERROR above stall_s, WARN above half of it; 0 is off."""
    if stall_s == 0.0 or processing_s <= stall_s / 2:
        return Level.OK
    return Level.WARN if processing_s <= stall_s else Level.ERROR


@dataclass(frozen=True)
class CameraHealth:
    """A camera's state at one moment.

    Attributes:
        text: the measurement and what is expected.
        rate_hz: over the last frames; 0 after a timeout, NaN until two frames have arrived since then.
    """

    state: WatchState
    text: str
    rate_hz: float

    @property
    def level(self) -> Level:
        """The state's diagnostic level."""
        return _LEVELS.get(self.state, Level.ERROR)


class RateWatch:
    """Watches one camera by the arrival times of its frames on a steady clock.

    The checks are in Autoware's order: not received, timeout, rate far too low, rate low. The gap since the
    last frame does not count in the rate; the timeout covers it. After a timeout the rate starts over, so a
    camera that comes back is OK at once.
    """

    def __init__(self, clock: Callable[[], float], expected_rate_hz: float = 0.0,
                 timeout_s: float = 1.0) -> None:
        """Start with no frame received; see `set_limits`."""
        self._clock = clock
        self._lock = threading.Lock()
        self._arrivals: deque[float] = deque(maxlen=_MAX_ARRIVALS)
        self.set_limits(expected_rate_hz, timeout_s)

    def set_limits(self, expected_rate_hz: float, timeout_s: float) -> None:
        """Change the limits at run time: frames per second, and seconds; 0 turns a check off."""
        with self._lock:
            self._expected, self._timeout = expected_rate_hz, timeout_s

    def note(self) -> None:
        """Record that a frame arrived now."""
        now = self._clock()
        with self._lock:
            if self._arrivals and self._timed_out(now):
                self._arrivals.clear()
            self._arrivals.append(now)
            span = max(_SPAN_S, _SPAN_FRAMES / self._expected if self._expected else 0.0)
            while len(self._arrivals) > 2 and self._arrivals[0] < now - span:
                self._arrivals.popleft()

    def reset(self) -> None:
        """Forget every frame, for a new subscription."""
        with self._lock:
            self._arrivals.clear()

    def check(self) -> CameraHealth:
        """The camera's current state."""
        now = self._clock()
        with self._lock:
            if not self._arrivals:
                return CameraHealth(WatchState.NOT_RECEIVED, 'no frame received yet', math.nan)
            if self._timed_out(now):
                text = f'no frame for {now - self._arrivals[-1]:.1f} s (timeout {self._timeout:g} s)'
                return CameraHealth(WatchState.TIMEOUT, text, 0.0)
            rate = self._rate()
            if not self._expected or math.isnan(rate):
                return CameraHealth(WatchState.OK, 'frames arrive', rate)
            state = WatchState.OK
            if rate < _WARN_SHARE * self._expected:
                state = WatchState.WARN_RATE
            if rate < _ERROR_SHARE * self._expected:
                state = WatchState.ERROR_RATE
            return CameraHealth(state, f'{rate:.1f} Hz, expected {self._expected:g} Hz', rate)

    def _timed_out(self, now: float) -> bool:
        return 0.0 < self._timeout < now - self._arrivals[-1]

    def _rate(self) -> float:
        elapsed = self._arrivals[-1] - self._arrivals[0]
        if elapsed > 0.0:
            return (len(self._arrivals) - 1) / elapsed
        return math.nan if len(self._arrivals) < 2 else math.inf
