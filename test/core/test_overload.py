# SPDX-License-Identifier: Apache-2.0
"""Rows B1 to B4 of the fault list: the engine with more frames than it can process.

The clock is simulated: handling a frame takes a random service time, and frames that arrive meanwhile are
submitted at their time. So a minute takes milliseconds and repeats exactly.
"""

import tracemalloc
from dataclasses import dataclass

import numpy as np
import pytest
from engines import ManualWorker, is_consistent

from shufflenet_ros.core.engine import Engine
from shufflenet_ros.core.reasons import DropReason

T = 0.033


@dataclass
class Message:
    """A numbered frame of some bytes."""

    number: int
    data: bytearray


class Simulation:
    """Cameras, an engine and one worker on a simulated clock.

    Attributes:
        ages: seconds from arrival to publication, for each published frame.
        services: seconds of handling, for each published frame.
        waits: seconds from arrival to the worker, for frames taken before the last arrival.
        results: (camera, number of the message, time of publication).
        most_waiting: the most frames that ever waited for one camera.
    """

    def __init__(self, arrivals, service, message_bytes=0, **options):
        """arrivals: (time, camera) pairs; service: draws a service time."""
        self.now = 0.0
        self.arrivals = sorted(arrivals)
        self.next = 0
        self.service, self.message_bytes = service, message_bytes
        self.ages, self.services, self.waits, self.results = [], [], [], []
        self.most_waiting = 0
        cameras = sorted({camera for _, camera in self.arrivals})
        self.engine = Engine(cameras, self.handle, clock=lambda: self.now, worker=ManualWorker(), **options)
        self.engine.start()

    def handle(self, frame):
        if self.next < len(self.arrivals):
            self.waits.append(self.now - frame.arrived)
        seconds = self.service()
        end = self.now + seconds
        while self.next < len(self.arrivals) and self.arrivals[self.next][0] <= end:
            self.arrive()
        self.now = end
        self.services.append(seconds)
        self.ages.append(end - frame.arrived)
        self.results.append((frame.camera, frame.message.number, end))

    def arrive(self):
        self.now, camera = self.arrivals[self.next]
        self.engine.submit(camera, Message(self.next, bytearray(self.message_bytes)))
        self.next += 1
        counts = self.engine.counts(camera)
        assert is_consistent(counts)
        self.most_waiting = max(self.most_waiting, counts.waiting)

    def run(self):
        """Until every frame has ended."""
        while True:
            if self.engine.step():
                continue
            if self.next == len(self.arrivals):
                break
            self.arrive()
        total = self.engine.total()
        assert total.in_flight == 0
        ended = total.published + total.superseded + total.dropped[DropReason.THROTTLED]
        assert total.received == len(self.arrivals) == ended
        assert total.published == len(self.results)
        return self


def steady(camera, rate_hz, seconds, start=0.0):
    """Arrivals at a constant rate."""
    return [(start + i / rate_hz, camera) for i in range(round(rate_hz * seconds))]


def jittered(mean, seed=0):
    """Service times like those of inference: a minimum, and a much longer one now and then."""
    random = np.random.default_rng(seed)
    return lambda: mean * (0.9 + random.gamma(0.5, 0.2))


def p99(values):
    return float(np.percentile(values, 99))


@pytest.mark.parametrize('factor', [1.5, 2, 4])
@pytest.mark.parametrize('seed', range(3))
def test_age_is_at_most_the_service_time_plus_a_period(factor, seed):
    run = Simulation(steady('', 1 / T, 60), jittered(factor * T, seed)).run()
    bound = p99(run.services) + T + 0.010
    assert p99(run.ages) <= bound
    assert max(run.waits) <= T + 1e-9, 'a frame waits a period at most'
    assert run.most_waiting == 1
    assert len(run.ages) >= 0.95 * 60 / (factor * T), 'the worker is never idle while frames wait'


@pytest.mark.parametrize('depth', [5, 10])
def test_a_queue_exceeds_that_bound(depth):
    """The control: what a subscription's queue does when inference runs in its callback."""
    run = Simulation(steady('', 1 / T, 60), jittered(2 * T), policy='every', queue_size=depth).run()
    assert p99(run.ages) > p99(run.services) + T + 0.010 + (depth - 2) * T
    assert run.most_waiting == depth


@pytest.mark.parametrize('policy', ['latest', 'every'])
def test_a_worker_that_keeps_up_publishes_every_frame_in_order(policy):
    run = Simulation(steady('', 60, 60), lambda: 0.5 / 60, policy=policy).run()
    assert [number for _, number, _ in run.results] == list(range(3600))
    assert p99(run.ages) == pytest.approx(0.5 / 60)


def test_a_burst_leaves_no_backlog():
    run = Simulation(steady('', 500, 10) + steady('', 30, 10, start=10.0), jittered(T / 2)).run()
    after = [age for age, (_, _, end) in zip(run.ages, run.results) if end > 10.0 + T]
    assert len(after) >= 295
    assert max(after) <= 2 * T
    assert p99(run.ages) <= p99(run.services) + 1 / 500 + 0.010


@pytest.mark.parametrize('policy', ['latest', 'every'])
def test_a_camera_at_four_times_the_rate_starves_no_other(policy):
    names = [f'camera{i}' for i in range(8)]
    arrivals = [a for i, name in enumerate(names) for a in steady(name, 120 if i == 3 else 30, 60, i / 997)]
    run = Simulation(arrivals, jittered(0.010), policy=policy, queue_size=10).run()
    published = [run.engine.counts(name).published for name in names]
    assert min(published) / max(published) >= 0.8
    for name in names:
        ends = [0.0, *(end for camera, _, end in run.results if camera == name), 60.0]
        assert max(np.diff(ends)) <= 1.0
    if policy == 'latest':
        assert run.most_waiting == 1
        assert max(run.waits) <= 1 / 30 + 1e-9


def test_the_start_of_the_clock_does_not_matter():
    """Row B5: a steady clock may start anywhere, and the engine uses no other clock."""
    results = []
    for start in (0.0, 2.0**30, -2.0**20):  # powers of two, so that no rounding differs
        run = Simulation(steady('', 32, 10, start), lambda: 2.5 / 32)
        run.engine.max_rate_hz = 16.0
        run.run()
        results.append((run.engine.total(), run.ages))
        assert 0 <= min(run.ages) <= max(run.ages) <= (2.5 + 2) / 32
    assert results[0] == results[1] == results[2]


def test_a_minute_of_overload_with_megabyte_frames_holds_three_of_them():
    """One waits, one is handled, one arrives: nothing else may keep an image alive."""
    run = Simulation(steady('', 1 / T, 60), jittered(2 * T), message_bytes=1 << 20)
    tracemalloc.start()
    try:
        run.run()
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * 2**20
    assert held < 2**20, 'nothing waits any more'
