# SPDX-License-Identifier: Apache-2.0
"""received = published + dropped + superseded + in_flight, at any moment."""

import sys
import threading

import pytest
from engines import ManualWorker, is_consistent
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from shufflenet_ros.core.engine import Counts, Engine
from shufflenet_ros.core.reasons import DropReason, FrameError

CAMERAS = ('front', 'left', 'rear')
FAULTS = (MemoryError(), ValueError('x'))


class EngineMachine(RuleBasedStateMachine):
    """Random schedules, compared with a simple model: lists of waiting frames."""

    @initialize(policy=st.sampled_from(['latest', 'every']), queue_size=st.integers(1, 4))
    def build(self, policy, queue_size):
        self.now, self.running, self.serial = 0.0, False, 0
        self.room = 1 if policy == 'latest' else queue_size
        self.waiting = {camera: [] for camera in CAMERAS}
        self.expected = {camera: {'received': 0, 'published': 0, 'superseded': 0} for camera in CAMERAS}
        self.dropped = {camera: dict.fromkeys(DropReason, 0) for camera in CAMERAS}
        self.due = dict.fromkeys(CAMERAS, 0.0)
        self.last_turn = len(CAMERAS) - 1
        self.fault, self.during, self.handled = None, (), None
        self.engine = Engine(CAMERAS, self.handle, policy=policy, queue_size=queue_size,
                             clock=lambda: self.now, worker=ManualWorker())

    def handle(self, frame):
        self.handled = frame
        self.check_counts(handling=frame.camera)
        for camera in self.during:
            self.submit(camera)
            self.check_counts(handling=frame.camera)
        if self.fault is not None:
            raise self.fault

    @rule(camera=st.sampled_from(CAMERAS))
    def submit(self, camera):
        self.serial += 1
        self.engine.submit(camera, self.serial)
        expected, waiting = self.expected[camera], self.waiting[camera]
        expected['received'] += 1
        if not self.running:
            expected['superseded'] += 1
        elif self.engine.max_rate_hz and self.now < self.due[camera]:
            self.dropped[camera][DropReason.THROTTLED] += 1
        else:
            if self.engine.max_rate_hz:
                # The model's clock ticks in whole seconds, as the limit of 1 Hz does.
                self.due[camera] = self.now + 1.0
            if len(waiting) == self.room:
                waiting.pop(0)
                expected['superseded'] += 1
            waiting.append(self.serial)

    @rule(fault=st.sampled_from([None, None, *FAULTS, *(FrameError(r, '') for r in DropReason)]),
          during=st.lists(st.sampled_from(CAMERAS), max_size=3))
    def step(self, fault, during):
        order = [(self.last_turn + i) % len(CAMERAS) for i in range(1, len(CAMERAS) + 1)]
        turn = next((i for i in order if self.waiting[CAMERAS[i]]), None)
        if turn is None:
            assert not self.engine.step()
            return
        self.last_turn, camera = turn, CAMERAS[turn]
        message = self.waiting[camera].pop(0)
        self.fault, self.during = fault, during
        assert self.engine.step()
        assert (self.handled.camera, self.handled.message) == (camera, message)
        if fault is None:
            self.expected[camera]['published'] += 1
        elif isinstance(fault, FrameError):
            self.dropped[camera][fault.reason] += 1
        else:
            memory = isinstance(fault, MemoryError)
            self.dropped[camera][DropReason.NO_MEMORY if memory else DropReason.BACKEND_ERROR] += 1

    @rule()
    def start(self):
        self.engine.start()
        self.running = True

    @rule()
    def stop(self):
        assert self.engine.stop(0.0)
        self.running = False
        for camera in CAMERAS:
            self.expected[camera]['superseded'] += len(self.waiting[camera])
            self.waiting[camera].clear()

    @rule(seconds=st.integers(0, 3))
    def pass_time(self, seconds):
        self.now += seconds

    @rule(rate=st.sampled_from([0.0, 1.0]))
    def limit(self, rate):
        self.engine.max_rate_hz = rate
        self.due = dict.fromkeys(CAMERAS, 0.0)

    @invariant()
    def check_counts(self, handling=None):
        for camera in CAMERAS:
            counts, expected = self.engine.counts(camera), self.expected[camera]
            assert {name: getattr(counts, name) for name in expected} == expected
            assert counts.dropped == self.dropped[camera]
            assert counts.waiting == len(self.waiting[camera])
            assert counts.in_flight == counts.waiting + (camera == handling)
            assert is_consistent(counts)
        total = self.engine.total()
        assert is_consistent(total)
        assert total.received == self.serial


EngineMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=50)
TestEngineMachine = EngineMachine.TestCase


@pytest.mark.parametrize(('policy', 'queue_size'), [('latest', 1), ('every', 7), ('every', 100_000)])
def test_counts_are_consistent_while_threads_submit_read_stop_and_start(policy, queue_size):
    """Threads switch every 10 us, to reveal a count outside the lock."""
    frames, cameras = 2500, [f'camera{i}' for i in range(4)]
    handled = {camera: [] for camera in cameras}

    def handle(frame):
        handled[frame.camera].append(frame.message)
        if frame.message % 5 == 1:
            raise FrameError(DropReason.TRUNCATED, '')
        if frame.message % 5 == 2:
            raise ValueError

    engine = Engine(cameras, handle, policy=policy, queue_size=queue_size)
    broken: list[Counts] = []
    done = threading.Event()

    def watch():
        while not done.is_set():
            for counts in (engine.total(), engine.counts(cameras[0])):
                if not is_consistent(counts) or counts.in_flight < 0:
                    broken.append(counts)
                if policy == 'latest' and counts.waiting > len(cameras):
                    broken.append(counts)

    def submit(camera):
        for i in range(frames):
            engine.submit(camera, i)

    def restart():
        while not done.is_set():
            engine.stop(20)
            engine.start()
            done.wait(0.002)

    crowd = [threading.Thread(target=submit, args=(camera,)) for camera in cameras]
    others = [threading.Thread(target=watch)]
    if queue_size <= 7:
        others.append(threading.Thread(target=restart))
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        engine.start()
        for thread in others + crowd:
            thread.start()
        for thread in crowd:
            thread.join()
        if queue_size == 100_000:
            while engine.total().in_flight:
                done.wait(0.001)
    finally:
        done.set()
        for thread in others:
            thread.join()
        assert engine.stop(20)
        sys.setswitchinterval(interval)

    assert broken == []
    for camera in cameras:
        counts, mine = engine.counts(camera), handled[camera]
        assert counts.received == frames
        assert counts.in_flight == 0
        assert mine == sorted(set(mine)), 'in order, none twice'
        assert counts.dropped[DropReason.TRUNCATED] == sum(m % 5 == 1 for m in mine)
        assert counts.dropped[DropReason.BACKEND_ERROR] == sum(m % 5 == 2 for m in mine)
        assert counts.published == sum(m % 5 not in (1, 2) for m in mine)
        assert counts.superseded == frames - len(mine)
        if queue_size == 100_000:
            assert mine == list(range(frames))
