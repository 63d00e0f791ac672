"""SIGINT and SIGTERM, so that a run ends between two steps."""

import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from shufflenet_ros.core.console import say


class StopRequest:
    """SIGINT and SIGTERM set a flag, so that a step ends before the run does. In a thread they stay as is."""

    def __init__(self) -> None:
        self.came = False
        self._before: dict[int, Callable[[int, FrameType | None], Any] | int | None] = {}
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self._before[number] = signal.signal(number, self._note)
            except ValueError:  # only the main thread may
                return

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self.came = True
        say('stopping after this step', to=sys.stderr)

    def restore(self) -> None:
        """Leave the signals to whom they belonged."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
