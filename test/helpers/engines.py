# SPDX-License-Identifier: Apache-2.0
"""What the engine's tests share: a worker without a thread, and arithmetic on counts."""

from __future__ import annotations

from shufflenet_ros.core.engine import Counts


class ManualWorker:
    """Leaves the steps to the test."""

    def start(self, step, wait):
        pass

    def stop(self, timeout):
        return True


def ended(counts: Counts) -> int:
    """Frames that have come to an end."""
    return counts.published + counts.superseded + sum(counts.dropped.values())


def is_consistent(counts: Counts) -> bool:
    """Whether every received frame has ended in exactly one way, or is in flight."""
    return counts.received == ended(counts) + counts.in_flight


def nonzero(counts: Counts) -> dict[str, int]:
    """The counts that are not 0."""
    values = {'received': counts.received, 'published': counts.published, 'superseded': counts.superseded,
              'in_flight': counts.in_flight, **{str(reason): n for reason, n in counts.dropped.items()}}
    return {name: n for name, n in values.items() if n}
