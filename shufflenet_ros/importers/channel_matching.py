# SPDX-License-Identifier: Apache-2.0
"""Match the channels of two networks by their producers and consumers.

Two networks that differ in their shuffles compute the same if in both each channel comes from the same
convolution and goes to the same one. So label the channels with their producer and consumer in both networks,
and give each of our channels one of theirs with the same label. If the counts of a label differ, no order of
channels makes the networks equal.
"""

from collections import defaultdict, deque
from collections.abc import Hashable, Sequence

import torch

from shufflenet_ros.zoo.channel_shuffle import channel_shuffle


def match(theirs: Sequence[Hashable], ours: Sequence[Hashable]) -> list[int] | None:
    """For each of our channels the index of one of theirs with the same label, None if the counts differ.

    Channels with one label keep their order, so equal networks give the identity.
    """
    waiting: dict[Hashable, deque[int]] = defaultdict(deque)
    for channel, label in enumerate(theirs):
        waiting[label].append(channel)
    chosen = []
    for label in ours:
        if not waiting[label]:
            return None
        chosen.append(waiting[label].popleft())
    return chosen if len(theirs) == len(ours) else None


def shuffled(channels: int, groups: int) -> list[int]:
    """Which channel is at each position after our channel shuffle."""
    return channel_shuffle(torch.arange(channels).view(1, -1, 1, 1), groups).flatten().tolist()


def positions(order: Sequence[int]) -> list[int]:
    """The inverse: the position of each channel."""
    return sorted(range(len(order)), key=order.__getitem__)
