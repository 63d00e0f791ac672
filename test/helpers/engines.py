# SPDX-License-Identifier: Apache-2.0
"""Shared by the engine's tests: a worker without a thread, and checks of counts."""

from shufflenet_ros.core.engine import Counts


class ManualWorker:
    """Leaves the steps to the test, and keeps the function that each start gets."""

    def __init__(self):
        self.runs = []

    def start(self, work):
        self.runs.append(work)

    def stop(self, timeout):
        return True


def is_consistent(counts: Counts) -> bool:
    """Whether every received frame has ended in exactly one way, or is in flight."""
    ended = counts.published + counts.superseded + sum(counts.dropped.values())
    return counts.received == ended + counts.in_flight


def nonzero(counts: Counts) -> dict[str, int]:
    """The counts that are not 0."""
    values = {'received': counts.received, 'published': counts.published, 'superseded': counts.superseded,
              'in_flight': counts.in_flight, **{str(reason): n for reason, n in counts.dropped.items()}}
    return {name: n for name, n in values.items() if n}
