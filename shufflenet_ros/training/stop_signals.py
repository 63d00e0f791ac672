# SPDX-License-Identifier: Apache-2.0
"""SIGINT and SIGTERM end a run between two steps."""

import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from shufflenet_ros.core.console import say


class StopRequest:
    """Set by SIGINT and SIGTERM. Outside the main thread, Python allows no handlers, and it stays unset."""

    def __init__(self) -> None:
        self.received = False
        self._previous: dict[int, Callable[[int, FrameType | None], Any] | int | None] = {}
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self._previous[number] = signal.signal(number, self._on_signal)
            except ValueError:  # only the main thread may
                return

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.received = True
        say('stopping after this step', to=sys.stderr)

    def restore(self) -> None:
        """Put the previous handlers back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
