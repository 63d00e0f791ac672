# SPDX-License-Identifier: Apache-2.0
"""Processing times: percentiles over the last frames, for each stage of the pipeline."""

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from shufflenet_ros.core.frame import StageTimes

STAGES = ('decode', 'preprocess', 'inference', 'postprocess', 'publish', 'age')


@dataclass(frozen=True)
class Summary:
    """One stage's percentiles in seconds, interpolated as by numpy.percentile; NaN where count is 0."""

    count: int
    p50: float
    p95: float
    p99: float


class StageStats:
    """The times of one camera's last published frames. One thread may add while another reads."""

    def __init__(self, size: int = 1000) -> None:
        """Keep the last `size` frames, at least 1."""
        self._rows = np.empty((size, len(STAGES)))
        self._added = 0
        self._lock = threading.Lock()

    def note(self, times: StageTimes, publish: float, age: float) -> None:
        """Add a published frame: its stages, the seconds that publishing took, and its age after that."""
        row = (times.decode, times.preprocess, times.inference, times.postprocess, publish, age)
        with self._lock:
            self._rows[self._added % len(self._rows)] = row
            self._added += 1

    def summaries(self) -> Mapping[str, Summary]:
        """By stage, in the order of STAGES."""
        with self._lock:
            rows = self._rows[:self._added].copy()
        if not len(rows):
            return dict.fromkeys(STAGES, Summary(0, math.nan, math.nan, math.nan))
        percentiles = np.percentile(rows, (50, 95, 99), axis=0).T.tolist()
        return {stage: Summary(len(rows), *values) for stage, values in zip(STAGES, percentiles)}
