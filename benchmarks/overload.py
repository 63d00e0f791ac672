# SPDX-License-Identifier: Apache-2.0
"""Twice as many frames as the engine can process, in real time (`python -m benchmarks.overload`).

Prints one JSON object: ages, service times and the bound on the age in milliseconds, the longest queue, the
growth of resident memory, and the CPU use of an idle engine.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.receive import rss_mb
from shufflenet_ros.core.engine import Engine
from shufflenet_ros.core.frame import Frame

PERIOD_S = 0.033
FACTOR = 2.0
MESSAGE_BYTES = 1 << 20


class Overload:
    """A camera with a frame every PERIOD_S, and a handler that takes about FACTOR periods, with jitter."""

    def __init__(self) -> None:
        self.ages: list[float] = []
        self.services: list[float] = []
        self.submits: list[float] = []
        self.most_waiting = 0
        self.engine = Engine(['camera'], self.handle)
        self._random = np.random.default_rng(0)

    def handle(self, frame: Frame) -> None:
        """Sleep in place of inference, then note the age."""
        time.sleep(FACTOR * PERIOD_S * (0.9 + self._random.gamma(0.5, 0.2)))
        published = time.monotonic()
        self.services.append(published - frame.taken)
        self.ages.append(published - frame.arrived)

    def camera(self, seconds: float) -> None:
        """Submit a frame every PERIOD_S; a late one does not delay the next."""
        began = time.monotonic()
        for i in range(round(seconds / PERIOD_S)):
            time.sleep(max(0.0, began + i * PERIOD_S - time.monotonic()))
            message = bytearray(MESSAGE_BYTES)
            before = time.perf_counter()
            self.engine.submit('camera', message)
            self.submits.append(time.perf_counter() - before)
            self.most_waiting = max(self.most_waiting, self.engine.counts('camera').waiting)


def measure(seconds: float = 60.0) -> dict[str, Any]:
    """Return the figures, and whether p99 age <= p99 service + period + 10 ms."""
    load = Overload()
    load.engine.start()
    load.camera(min(2.0, seconds))
    gc.collect()
    resident = rss_mb()
    load.camera(seconds)
    growth = rss_mb() - resident
    load.engine.stop(5.0)
    counts = load.engine.counts('camera')
    (age_p50, age), (_, service) = _p50_p99(load.ages, 1e3), _p50_p99(load.services, 1e3)
    submit_p50, submit_p99 = _p50_p99(load.submits, 1e6)
    bound = service + 1e3 * PERIOD_S + 10.0
    ended = counts.published + counts.superseded + sum(counts.dropped.values())
    return {
        'seconds': seconds, 'period_ms': PERIOD_S * 1e3, 'service_periods': FACTOR,
        'service_p99_ms': round(service, 2), 'age_p50_ms': round(age_p50, 2), 'age_p99_ms': round(age, 2),
        'bound_ms': round(bound, 2), 'within_bound': age <= bound,
        'most_waiting': load.most_waiting, 'rss_growth_mb': round(growth, 3),
        'submit_p50_us': round(submit_p50, 1), 'submit_p99_us': round(submit_p99, 1),
        'received': counts.received, 'published': counts.published, 'superseded': counts.superseded,
        'invariant_holds': counts.received == ended + counts.in_flight,
        'idle_core_share': round(idle_share(1.0), 5),
    }


def idle_share(seconds: float) -> float:
    """Return the share of one core that a running engine without frames uses."""
    engine = Engine(['camera'], lambda frame: None)
    engine.start()
    began = time.process_time()
    time.sleep(seconds)
    share = (time.process_time() - began) / seconds
    engine.stop(1.0)
    return share


def _p50_p99(values: Sequence[float], scale: float) -> tuple[float, float]:
    p50, p99 = scale * np.percentile(values, (50, 99))
    return float(p50), float(p99)


if __name__ == '__main__':
    parser = argparse.ArgumentParser(prog='python -m benchmarks.overload', description=__doc__)
    parser.add_argument('--seconds', type=float, default=60.0, help='of overload (default 60)')
    print(json.dumps(measure(parser.parse_args().seconds)))
