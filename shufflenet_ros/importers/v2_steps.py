"""Megvii's ShuffleNet v2 in ours: the same convolutions, channels in another order.

Their stride-1 units keep the even channels, transform the odd ones and concatenate; ours keep the first
half, transform the second, concatenate and shuffle. Which unit takes a channel at last differs from ours,
unless each convolution's output channels are given the order that ours needs.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from shufflenet_ros.importers.channel_matching import match, shuffled
from shufflenet_ros.importers.weights import Tensors, Weights, reorder_rows
from shufflenet_ros.zoo.shufflenet_v2 import ShuffleNetV2Config

REPEATS = (4, 8, 4)
# A channel: number of the unit that makes it, the branch, the row of that branch's last convolution.
Channel = tuple[int, str, int]
# A convolution that makes channels, and its BN, by branch.
_MAKERS = {'branch1': ('branch1.2', 'branch1.3'), 'branch2': ('branch2.5', 'branch2.6')}


@dataclass(frozen=True)
class _Trace:
    """Channels in the order in which each stride-1 unit's branch takes them, and as the stage ends."""

    taken: list[list[Channel]]
    end: list[Channel]

    def takers(self) -> Iterator[tuple[Channel, int, int]]:
        """Each channel with the unit that takes it (len(taken) for the end) and the column it has there."""
        for unit, channels in enumerate([*self.taken, self.end]):
            for column, channel in enumerate(channels):
                yield channel, unit, column


def _trace(half: int, units: int, *, ours: bool) -> _Trace:
    """Follow a stage's channels through its units."""
    def shuffle(channels: list[Channel], groups: int) -> list[Channel]:
        return [channels[source] for source in shuffled(len(channels), groups)]

    out = [(0, branch, row) for branch in _MAKERS for row in range(half)]
    taken = []
    for unit in range(1, units):
        # the inverse shuffle puts the even channels first and the odd ones behind them
        mixed = shuffle(out, 2 if ours else half)
        taken.append(mixed[half:])
        out = mixed[:half] + [(unit, 'branch2', row) for row in range(half)]
    return _Trace(taken, shuffle(out, 2) if ours else out)


def _partners(theirs: _Trace, ours: _Trace) -> dict[Channel, Channel] | None:
    """Our channel -> theirs that the same convolution makes and the same one takes."""
    def by_maker(trace: _Trace) -> dict[tuple[int, str], dict[int, int]]:
        makers: dict[tuple[int, str], dict[int, int]] = defaultdict(dict)
        for (unit, branch, row), taker, _ in trace.takers():
            makers[unit, branch][row] = taker
        return makers

    partners: dict[Channel, Channel] = {}
    their_makers = by_maker(theirs)
    for (unit, branch), fates in by_maker(ours).items():
        rows = sorted(fates)
        order = match([their_makers[unit, branch][row] for row in rows], [fates[row] for row in rows])
        if order is None:
            return None
        partners.update({(unit, branch, row): (unit, branch, order[row]) for row in rows})
    return partners


def _columns(tensors: Tensors, key: str, order: list[int]) -> None:
    tensors[key] = tensors[key][:, torch.tensor(order)]


def _reorder_stage(tensors: Tensors, stage: str, half: int, units: int,
                   incoming: list[int]) -> list[int] | None:
    """Permute one stage in place; the order of its output, or None where no permutation does it."""
    theirs, ours = _trace(half, units, ours=False), _trace(half, units, ours=True)
    partners = _partners(theirs, ours)
    if partners is None:
        return None
    reorder_rows(tensors, f'{stage}.0.branch1.0', f'{stage}.0.branch1.1', incoming)
    _columns(tensors, f'{stage}.0.branch1.2.weight', incoming)
    _columns(tensors, f'{stage}.0.branch2.0.weight', incoming)
    for unit in range(units):
        for branch, (conv, bn) in _MAKERS.items():
            if unit == 0 or branch == 'branch2':
                order = [partners[unit, branch, row][2] for row in range(half)]
                reorder_rows(tensors, f'{stage}.{unit}.{conv}', f'{stage}.{unit}.{bn}', order)
    column = {channel: column for channel, _, column in theirs.takers()}
    for unit, channels in enumerate(ours.taken, 1):
        _columns(tensors, f'{stage}.{unit}.branch2.0.weight', [column[partners[c]] for c in channels])
    return [column[partners[c]] for c in ours.end]


def split_even_odd(weights: Weights) -> Weights:
    """The step for Megvii's units: permuted into ours, or left with the option `megvii`.

    Left where a stage's first branch is narrower than the second (all widths but 0.5, as their projection
    keeps its input's channel count), or where fates occur another number of times.
    """
    config = weights.config
    assert isinstance(config, ShuffleNetV2Config)
    tensors = dict(weights.tensors)
    order, orders = list(range(tensors['stem.0.weight'].shape[0])), {}
    for stage, units in zip(('stage2', 'stage3', 'stage4'), REPEATS):
        left, right = (tensors[f'{stage}.0.{conv}.weight'].shape[0] for conv, _ in _MAKERS.values())
        ordered = _reorder_stage(tensors, stage, left, units, order) if left == right else None
        if ordered is None:
            return weights
        order, orders[stage] = ordered, tuple(ordered)
    if 'last.0.weight' in tensors:
        _columns(tensors, 'last.0.weight', order)
    return Weights(tensors, replace(config, megvii=False), orders)
