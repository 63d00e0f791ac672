# SPDX-License-Identifier: Apache-2.0
"""Megvii's ShuffleNet v2 as ours: the same convolutions, with channels in another order.

Their stride-1 units keep the even channels, transform the odd ones and concatenate. Ours keep the first half,
transform the second, concatenate and shuffle. So a channel goes to another unit than in ours, unless each
convolution's output channels get the order that ours needs.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace

from shufflenet_ros.importers.channel_matching import match, shuffled
from shufflenet_ros.importers.weights import Tensors, Weights, reorder_inputs, reorder_outputs
from shufflenet_ros.zoo.backbone import STAGES
from shufflenet_ros.zoo.shufflenet_v2 import ShuffleNetV2Config

REPEATS = (4, 8, 4)
# A channel: number of the unit that produces it, the branch, the output of that branch's last convolution.
Channel = tuple[int, str, int]
# The convolution that produces a branch's channels, and its BN.
_PRODUCERS = {'branch1': ('branch1.2', 'branch1.3'), 'branch2': ('branch2.5', 'branch2.6')}


@dataclass(frozen=True)
class _ChannelTrace:
    """Channels in the order in which each stride-1 unit's branch consumes them, and as the stage ends."""

    consumed: list[list[Channel]]
    end: list[Channel]

    def consumers(self) -> Iterator[tuple[Channel, int, int]]:
        """Each channel with its consuming unit (len(consumed) for the stage's end) and its index there."""
        for unit, channels in enumerate([*self.consumed, self.end]):
            for index, channel in enumerate(channels):
                yield channel, unit, index


def _trace(half: int, units: int, *, ours: bool) -> _ChannelTrace:
    """Follow a stage's channels through its units."""
    def shuffle(channels: list[Channel], groups: int) -> list[Channel]:
        return [channels[source] for source in shuffled(len(channels), groups)]

    out = [(0, branch, index) for branch in _PRODUCERS for index in range(half)]
    consumed = []
    for unit in range(1, units):
        # The inverse shuffle puts the even channels first and the odd ones after them.
        mixed = shuffle(out, 2 if ours else half)
        consumed.append(mixed[half:])
        out = mixed[:half] + [(unit, 'branch2', index) for index in range(half)]
    return _ChannelTrace(consumed, shuffle(out, 2) if ours else out)


def _partners(theirs: _ChannelTrace, ours: _ChannelTrace) -> dict[Channel, Channel] | None:
    """Our channel -> theirs with the same producer and consumer; None if the counts differ."""
    def consumers(trace: _ChannelTrace) -> dict[tuple[int, str], dict[int, int]]:
        """Producer -> its output -> consumer."""
        found: dict[tuple[int, str], dict[int, int]] = defaultdict(dict)
        for (unit, branch, index), consumer, _ in trace.consumers():
            found[unit, branch][index] = consumer
        return found

    partners: dict[Channel, Channel] = {}
    their_consumers = consumers(theirs)
    for producer, our_consumers in consumers(ours).items():
        indices = sorted(our_consumers)
        order = match([their_consumers[producer][index] for index in indices],
                      [our_consumers[index] for index in indices])
        if order is None:
            return None
        partners |= {(*producer, index): (*producer, order[index]) for index in indices}
    return partners


def _reorder_stage(tensors: Tensors, stage: str, half: int, units: int,
                   incoming: list[int]) -> list[int] | None:
    """Permute one stage in place; the order of its output, or None if no permutation gives theirs."""
    theirs, ours = _trace(half, units, ours=False), _trace(half, units, ours=True)
    partners = _partners(theirs, ours)
    if partners is None:
        return None
    reorder_outputs(tensors, f'{stage}.0.branch1.0', f'{stage}.0.branch1.1', incoming)
    reorder_inputs(tensors, f'{stage}.0.branch1.2.weight', incoming)
    reorder_inputs(tensors, f'{stage}.0.branch2.0.weight', incoming)
    for unit in range(units):
        for branch, (conv, bn) in _PRODUCERS.items():
            if unit == 0 or branch == 'branch2':
                order = [partners[unit, branch, index][2] for index in range(half)]
                reorder_outputs(tensors, f'{stage}.{unit}.{conv}', f'{stage}.{unit}.{bn}', order)
    position = {channel: index for channel, _, index in theirs.consumers()}
    for unit, channels in enumerate(ours.consumed, 1):
        order = [position[partners[channel]] for channel in channels]
        reorder_inputs(tensors, f'{stage}.{unit}.branch2.0.weight', order)
    return [position[partners[channel]] for channel in ours.end]


def split_even_odd(weights: Weights) -> Weights:
    """The step for Megvii's units: permuted into ours, or kept with the option `megvii`.

    Kept if a stage's first branch is narrower than the second (all widths but 0.5, as their projection keeps
    the number of its input channels), or if producers and consumers do not match.
    """
    config = weights.config
    assert isinstance(config, ShuffleNetV2Config)
    tensors = dict(weights.tensors)
    order, orders = list(range(tensors['stem.0.weight'].shape[0])), {}
    for stage, units in zip(STAGES, REPEATS):
        left, right = (tensors[f'{stage}.0.{conv}.weight'].shape[0] for conv, _ in _PRODUCERS.values())
        new_order = _reorder_stage(tensors, stage, left, units, order) if left == right else None
        if new_order is None:
            return weights
        order, orders[stage] = new_order, tuple(new_order)
    if 'last.0.weight' in tensors:
        reorder_inputs(tensors, 'last.0.weight', order)
    return Weights(tensors, replace(config, megvii=False), orders)
