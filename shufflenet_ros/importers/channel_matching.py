"""Channels are known by their fate: who made them and who takes them.

Two networks that differ in their shuffles compute the same when every channel is made and taken by the
same convolutions in both. So label the channels, push the labels through both networks' shuffles, and give
each of our channels one of theirs with the same fate. Where the counts of a fate differ, there is none.
"""

from collections import defaultdict, deque
from collections.abc import Hashable, Sequence

import torch

from shufflenet_ros.zoo.channel_shuffle import channel_shuffle


def match(theirs: Sequence[Hashable], ours: Sequence[Hashable]) -> list[int] | None:
    """For each of our channels the number of theirs with the same fate; None where the counts differ.

    Channels of one fate keep their order, so that equal networks give the identity.
    """
    waiting: dict[Hashable, deque[int]] = defaultdict(deque)
    for channel, fate in enumerate(theirs):
        waiting[fate].append(channel)
    chosen = []
    for fate in ours:
        if not waiting[fate]:
            return None
        chosen.append(waiting[fate].popleft())
    return chosen if len(theirs) == len(ours) else None


def shuffled(channels: int, groups: int) -> list[int]:
    """Which channel lies at each place after our channel shuffle."""
    return channel_shuffle(torch.arange(channels).view(1, -1, 1, 1), groups).flatten().tolist()


def places(order: Sequence[int]) -> list[int]:
    """The inverse: at which place each channel lies."""
    where = [0] * len(order)
    for place, channel in enumerate(order):
        where[channel] = place
    return where
