# SPDX-License-Identifier: Apache-2.0
"""What a node's results and diagnostics in a bag say about that node."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from shufflenet_ros.bags.errors import BagError
from shufflenet_ros.bags.reader import Bag, stamp_ns

_RESULTS, _DIAGNOSTICS = 'vision_msgs/msg/Classification', 'diagnostic_msgs/msg/DiagnosticArray'
_ENDS = ('published', 'superseded', 'dropped.')


@dataclass(frozen=True)
class RecordedNode:
    """Recorded messages of a node.

    Attributes:
        ages: by topic, each result's time of recording in nanoseconds, and its age then in milliseconds.
        ends: by name of the status in /diagnostics and key, how many frames ended so during the recording.
    """

    ages: Mapping[str, list[tuple[int, float]]]
    ends: Mapping[tuple[str, str], int]


def read_recorded(path: Path) -> RecordedNode:
    """Read the results and diagnostics in a bag, if it has any; messages that cannot be read are left out.

    Raises:
        BagError: the bag is damaged.
    """
    ages: defaultdict[str, list[tuple[int, float]]] = defaultdict(list)
    ends: Counter[tuple[str, str]] = Counter()
    before: dict[tuple[str, str], int] = {}
    with Bag(path) as bag:
        topics = [topic.name for topic in bag.topics if topic.type in (_RESULTS, _DIAGNOSTICS)]
        for item in bag.messages(topics):
            try:
                message = item.message
            except BagError:
                continue
            if item.type == _RESULTS:
                ages[item.topic].append((item.log_ns, (item.log_ns - stamp_ns(message)) / 1e6))
                continue
            values = {(status.name, pair.key): int(pair.value) for status in message.status
                      for pair in status.values
                      if pair.key.startswith(_ENDS) and pair.value.isdecimal() and len(pair.value) < 19}
            for key, value in values.items():
                last = before.get(key, value)
                ends[key] += value - last if value >= last else value  # a restarted node counts from 0
                before[key] = value
    return RecordedNode(ages, ends)
