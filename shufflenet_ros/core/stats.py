# SPDX-License-Identifier: Apache-2.0
"""Processing times: percentiles over the last frames, one window for each stage of the pipeline."""

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from shufflenet_ros.core.frame import StageTimes


@dataclass(frozen=True)
class Summary:
    """Percentiles of a window, in the unit of its values, interpolated as by numpy.percentile.

    Attributes:
        count: values in the window; with 0 the percentiles are NaN.
    """

    count: int
    p50: float
    p95: float
    p99: float


class Window:
    """The last `size` values. One thread may add while another reads."""

    def __init__(self, size: int = 1000) -> None:
        """Make an empty window.

        Raises:
            ValueError: size < 1.
        """
        if size < 1:
            raise ValueError(f'size: got {size}, expected at least 1')
        self._values = np.empty(size, np.float64)
        self._added = 0
        self._lock = threading.Lock()

    def add(self, value: float) -> None:
        """Replace the oldest value."""
        with self._lock:
            self._values[self._added % self._values.size] = value
            self._added += 1

    def summary(self) -> Summary:
        """Percentiles of the current values."""
        with self._lock:
            values = self._values[:self._added].copy()
        if values.size == 0:
            return Summary(0, math.nan, math.nan, math.nan)
        p50, p95, p99 = np.percentile(values, (50, 95, 99))
        return Summary(values.size, float(p50), float(p95), float(p99))


class StageStats:
    """One camera's windows, in seconds: decode, preprocess, inference, postprocess, publish, and age."""

    def __init__(self, size: int = 1000) -> None:
        """Keep the last `size` published frames."""
        stages = ('decode', 'preprocess', 'inference', 'postprocess', 'publish', 'age')
        self._windows = {stage: Window(size) for stage in stages}

    def note(self, times: StageTimes, publish: float, age: float) -> None:
        """Add a published frame: its stages, the seconds that publishing took, and its age after that."""
        values = (times.decode, times.preprocess, times.inference, times.postprocess, publish, age)
        for window, value in zip(self._windows.values(), values):
            window.add(value)

    def summaries(self) -> Mapping[str, Summary]:
        """By stage, in the order of the frame pipeline."""
        return {stage: window.summary() for stage, window in self._windows.items()}
