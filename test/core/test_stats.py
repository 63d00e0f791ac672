# SPDX-License-Identifier: Apache-2.0
"""Percentiles of the last values, against numpy's own."""

import math
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shufflenet_ros.core.frame import StageTimes
from shufflenet_ros.core.stats import StageStats, Window


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=300), st.integers(1, 64))
def test_window_equals_numpy_over_the_last_values(values, size):
    window = Window(size)
    for value in values:
        window.add(value)
    summary = window.summary()
    last = values[-size:]
    assert summary.count == len(last)
    expected = np.percentile(last, (50, 95, 99))
    np.testing.assert_allclose((summary.p50, summary.p95, summary.p99), expected, rtol=1e-12, atol=1e-6)


def test_an_empty_window_has_no_percentiles():
    window = Window(4)
    assert window.summary().count == 0
    assert math.isnan(window.summary().p99)


def test_window_of_size_zero_is_rejected():
    with pytest.raises(ValueError, match=r'size: got 0, expected at least 1'):
        Window(0)


def test_each_stage_gets_its_own_value():
    stats = StageStats(size=10)
    for _ in range(12):
        stats.note(StageTimes(decode=1, preprocess=2, inference=3, postprocess=4), publish=5, age=6)
    assert {stage: s.p50 for stage, s in stats.summaries().items()} == {
        'decode': 1, 'preprocess': 2, 'inference': 3, 'postprocess': 4, 'publish': 5, 'age': 6}
    assert {s.count for s in stats.summaries().values()} == {10}


def test_reading_while_another_thread_adds_sees_only_values_that_were_added():
    window = Window(100)
    done = threading.Event()

    def add() -> None:
        while not done.is_set():
            window.add(1.0)

    writer = threading.Thread(target=add)
    writer.start()
    try:
        summaries = [window.summary() for _ in range(500)]
    finally:
        done.set()
        writer.join()
    assert all((s.p50, s.p99) == (1.0, 1.0) for s in summaries if s.count)
    assert any(s.count for s in summaries)
