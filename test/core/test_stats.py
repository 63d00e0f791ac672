# SPDX-License-Identifier: Apache-2.0
"""Percentiles of the last frames, against numpy's own."""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from shufflenet_ros.core.frame import StageTimes
from shufflenet_ros.core.stats import STAGES, StageStats


def note(stats, value):
    """Add a frame whose stages took value, 2 * value, and so on."""
    decode, preprocess, inference, postprocess, publish, age = (value * i for i in range(1, 7))
    stats.note(StageTimes(decode, preprocess, inference, postprocess), publish, age)


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=300), st.integers(1, 64))
def test_each_stage_equals_numpy_over_the_last_frames(values, size):
    stats = StageStats(size)
    for value in values:
        note(stats, value)
    last = np.array(values[-size:])
    for i, (stage, summary) in enumerate(stats.summaries().items()):
        assert stage == STAGES[i] and summary.count == len(last)
        expected = np.percentile(last * (i + 1), (50, 95, 99))
        np.testing.assert_allclose((summary.p50, summary.p95, summary.p99), expected, rtol=1e-12, atol=1e-6)


def test_without_frames_there_are_no_percentiles():
    summaries = StageStats(4).summaries()
    assert list(summaries) == ['decode', 'preprocess', 'inference', 'postprocess', 'publish', 'age']
    assert all(s.count == 0 and math.isnan(s.p99) for s in summaries.values())


def test_reading_while_another_thread_adds_sees_only_whole_frames():
    stats = StageStats(100)
    with ThreadPoolExecutor(1) as pool:
        adding = pool.submit(lambda: [note(stats, 1.0) for _ in range(20_000)])
        seen = [stats.summaries() for _ in range(500)]
        while not adding.done():
            seen.append(stats.summaries())
    read = [[s.p50 for s in summaries.values()] for summaries in seen if summaries['age'].count]
    assert read and all(percentiles == [1, 2, 3, 4, 5, 6] for percentiles in read)
