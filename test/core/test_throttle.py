# SPDX-License-Identifier: Apache-2.0
"""Log lines: the first at once, then one per key and period; all are counted."""

from concurrent.futures import ThreadPoolExecutor

from shufflenet_ros.core.throttle import LogThrottle


class Clock:
    """Seconds that only the test moves."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_the_first_line_is_immediate_and_the_next_counts_the_suppressed():
    clock = Clock()
    logs = LogThrottle(clock)
    assert logs.admit('short_data') == 0
    clock.now += 4.9
    assert [logs.admit('short_data') for _ in range(7)] == [None] * 7
    clock.now += 0.1
    assert logs.admit('short_data') == 7
    clock.now += 5.0
    assert logs.admit('short_data') == 0


def test_keys_are_independent():
    logs = LogThrottle(Clock())
    assert logs.admit('short_data') == 0
    assert logs.admit('short_data') is None
    assert logs.admit('bad_step') == 0


def test_d16_a_minute_of_500_bad_frames_per_second_makes_12_lines():
    """Row D16 of the fault list allows 15 lines for 30,000 frames."""
    clock = Clock()
    logs = LogThrottle(clock)
    results = []
    for i in range(30_000):
        clock.now = i / 500
        results.append(logs.admit('truncated'))
    lines = [r for r in results if r is not None]
    assert len(lines) == 12
    assert len(lines) + sum(lines) + results[::-1].index(lines[-1]) == 30_000


def test_threads_together_log_one_line_and_lose_no_count():
    threads, clock = 4, Clock()
    logs = LogThrottle(clock)
    with ThreadPoolExecutor(threads) as pool:
        results = pool.map(lambda _: [logs.admit('key') for _ in range(2000)], range(threads))
    assert [more for result in results for more in result if more is not None] == [0]
    clock.now += 5
    assert logs.admit('key') == threads * 2000 - 1
