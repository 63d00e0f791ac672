# SPDX-License-Identifier: Apache-2.0
"""Clocks that jump (row B5), stamps that come twice (B6), frames that are too old (B9)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from builtin_interfaces.msg import Time
from driving import GREEN, RED, plain, stamp_of
from in_process import Bench, bench
from replaying import EVERY, wait_for
from rosgraph_msgs.msg import Clock

START, HOUR, DAY = 1_000_000, 3600, 86400


class Stage:
    """A node in simulated time, its camera, and the clock."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self._clock = bench.operator.create_publisher(Clock, '/clock', 10)
        self.camera = bench.camera()
        self._lasts = 0

    def jump(self, sec: int) -> None:
        """Set the clock; return once the node uses it."""
        def node_is_there() -> bool:
            self._clock.publish(Clock(clock=Time(sec=sec)))
            return bool(self.bench.node.get_clock().now().nanoseconds == sec * 10**9)
        wait_for(node_is_there, f'the node to see {sec} on /clock')

    def count(self, key: str) -> int:
        return self.bench.status_when('camera', lambda s: s.count('in_flight') == 0, 'no frame').count(key)

    def wait_for_count(self, key: str, value: int) -> None:
        self.bench.status_when('camera', lambda s: s.count(key) == value, f'{value} in {key}')

    def results(self, *stamps: tuple[int, int]) -> list[tuple[int, int]]:
        """The stamps of the results of frames with these stamps, once a last frame has its result too."""
        self._lasts += 1
        last = (2**31 - 1, self._lasts)
        self.bench.heard.clear()
        for stamp in (*stamps, last):
            self.camera.publish(plain(RED, stamp))
        heard = self.bench.heard
        wait_for(lambda: heard and stamp_of(heard[-1]) == last, 'the last result')
        return [stamp_of(result) for result in heard[:-1]]


@pytest.fixture(scope='module')
def stage(context, model) -> Iterator[Stage]:
    with bench(context, model, use_sim_time=True, max_age_s=1.0, **EVERY) as made:
        made.bring_to('active')
        made.wait_for_topics()
        yield Stage(made)


def test_frames_too_old_are_dropped_and_counted(stage):
    stage.jump(START)
    before = stage.count('dropped.stale')
    fresh = [(START, 0), (START - 1, 0), (START - 1, 1), (START + 10, 0)]
    stale = [(START - 2, 999_999_999), (START - HOUR, 0), (1, 0)]
    assert stage.results(*stale, *fresh) == fresh
    stage.wait_for_count('dropped.stale', before + len(stale))
    bad = [(0, 0), (-5, 0), (START, 2 * 10**9)]
    assert stage.results(*bad) == bad, 'a stamp that is not a valid time has no age'


def test_no_frame_is_lost_when_the_clock_jumps(stage):
    """An hour back, a day ahead, all the way to zero, and twice as a bag that starts again."""
    for now in (START, START - HOUR, START - HOUR + DAY, 0, START, START + 60, START, START + 60):
        stage.jump(now)
        frames = [(now, 1 + i) for i in range(100)]
        assert stage.results(*frames) == frames


def test_duplicate_stamps_get_results_and_are_counted(stage):
    stage.jump(START)
    before = stage.count('duplicate_stamp')
    frames = [(START, 1), (START, 1), (START, 2), (START, 2), (START, 2)]
    assert stage.results(*frames) == frames
    stage.wait_for_count('duplicate_stamp', before + 3)


def test_two_publishers_on_one_topic(stage):
    second, heard = stage.bench.camera(), stage.bench.heard
    heard.clear()
    for i in range(1, 11):
        stage.camera.publish(plain(RED, (START, i)))
        second.publish(plain(GREEN, (START, i)))
    wait_for(lambda: len(heard) >= 20, 'twenty results')
    best = sorted((stamp_of(result), result.results[0].class_id) for result in heard)
    assert best == sorted(((START, i), name) for i in range(1, 11) for name in ('red', 'green'))
