# SPDX-License-Identifier: Apache-2.0
"""Clocks that jump (row B5), stamps that come twice (B6), frames that are too old (B9)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2')
pytest.importorskip('onnx', reason='needs the extra export')

from diagnostic_msgs.msg import DiagnosticArray
from driving import GREEN, RED, Driver, active_node, driver, plain
from replaying import EVERY, wait_for
from rosgraph_msgs.msg import Clock
from tiny_bundle import tiny_bundle
from vision_msgs.msg import Classification

START, HOUR, DAY = 1_000_000, 3600, 86400
NAME = '/dreamer'


class Stage:
    """A node in simulated time, its camera, its answers, and the clock."""

    def __init__(self, drive: Driver) -> None:
        self.drive = drive
        self._clock = drive.node.create_publisher(Clock, '/clock', 10)
        self._said = drive.hear(DiagnosticArray, '/diagnostics')
        self.camera = drive.camera('/dreamer/image')
        self._lasts = 0
        self.answers = drive.hear(Classification, f'{NAME}/classification')
        drive.wait_for_publisher(f'{NAME}/classification')
        time.sleep(0.3)  # the publisher finds us after we find it

    def jump(self, sec: int) -> None:
        """Set the clock; back once the node has taken it over."""
        def taken() -> bool:
            message = Clock()
            message.clock.sec = sec
            self._clock.publish(message)
            return bool(self._said) and self._said[-1].header.stamp.sec == sec
        self._said.clear()
        wait_for(taken, f'the node to see {sec} on /clock')

    def count(self, key: str) -> int:
        return self.drive.status_when('camera', lambda s: s.count('in_flight') == 0, 'rest').count(key)

    def answered(self, *stamps: tuple[int, int]) -> list[tuple[int, int]]:
        """The stamps of the answers to frames with these stamps, once a last frame is answered too."""
        self._lasts += 1
        last = (2**31 - 1, self._lasts)
        self.answers.clear()
        for stamp in (*stamps, last):
            self.camera.publish(plain(RED, stamp))
        wait_for(lambda: self.answers and stamp_of(self.answers[-1]) == last, 'the last answer')
        return [stamp_of(answer) for answer in self.answers[:-1]]


def stamp_of(message: Any) -> tuple[int, int]:
    return message.header.stamp.sec, message.header.stamp.nanosec


@pytest.fixture(scope='module')
def stage(own_domain: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp('time')
    bundle = tiny_bundle(folder / 'tiny.onnx')
    parameters = EVERY | {'model': bundle, 'use_sim_time': 'true', 'max_age_s': 1.0}
    remaps = ('-r', '__node:=dreamer', '-r', 'image_raw:=/dreamer/image')
    with driver(NAME) as drive, active_node(drive, folder / 'node.log', parameters, *remaps):
        yield Stage(drive)


def test_frames_too_old_are_dropped_and_counted(stage: Stage) -> None:
    stage.jump(START)
    before = stage.count('dropped.stale')
    fresh = [(START, 0), (START - 1, 0), (START - 1, 1), (START + 10, 0)]
    stale = [(START - 2, 999_999_999), (START - HOUR, 0), (1, 0)]
    assert stage.answered(*stale, *fresh) == fresh
    wait_for(lambda: stage.count('dropped.stale') == before + len(stale), 'the stale ones in the counter')
    bad = [(0, 0), (-5, 0), (START, 2 * 10**9)]
    assert stage.answered(*bad) == bad, 'a stamp that is no time tells no age'


def test_no_frame_is_lost_when_the_clock_jumps(stage: Stage) -> None:
    """An hour back, a day ahead, and all the way to zero."""
    for now in (START, START - HOUR, START - HOUR + DAY, 0, START):
        stage.jump(now)
        frames = [(now, 1 + i) for i in range(300)]
        assert stage.answered(*frames) == frames


def test_a_bag_that_begins_again(stage: Stage) -> None:
    stage.jump(START + 60)
    for _ in range(2):
        stage.jump(START)
        frames = [(START, i) for i in range(1, 20)]
        assert stage.answered(*frames) == frames
        stage.jump(START + 60)
        frames = [(START + 60, i) for i in range(1, 20)]
        assert stage.answered(*frames) == frames


def test_stamps_that_come_twice_are_answered_and_counted(stage: Stage) -> None:
    stage.jump(START)
    before = stage.count('duplicate_stamp')
    frames = [(START, 1), (START, 1), (START, 2), (START, 2), (START, 2)]
    assert stage.answered(*frames) == frames
    wait_for(lambda: stage.count('duplicate_stamp') == before + 3, 'the doubles in the counter')


def test_two_publishers_on_one_topic(stage: Stage) -> None:
    second = stage.drive.camera('/dreamer/image')
    wait_for(lambda: second.get_subscription_count() == 1, 'the node')
    stage.answers.clear()
    for i in range(1, 11):
        stage.camera.publish(plain(RED, (START, i)))
        second.publish(plain(GREEN, (START, i)))
    wait_for(lambda: len(stage.answers) >= 20, 'twenty answers')
    best = sorted((stamp_of(answer), answer.results[0].class_id) for answer in stage.answers)
    assert best == sorted(((START, i), name) for i in range(1, 11) for name in ('red', 'green'))
