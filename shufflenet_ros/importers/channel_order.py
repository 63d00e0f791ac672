# SPDX-License-Identifier: Apache-2.0
"""Reorder another project's channels, so that our network computes the same although it shuffles elsewhere.

Two networks that differ only in their shuffles compute the same if each channel comes from the same
convolution and goes to the same convolution in both. So label the channels of both networks with their
producer and consumer, and give each of our channels a source channel with the same label. If a label has more
channels in one network than in the other, no order of the channels makes the networks equal.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from shufflenet_ros.importers.weights import Weights
from shufflenet_ros.zoo.backbone import STAGES
from shufflenet_ros.zoo.channel_shuffle import channel_shuffle
from shufflenet_ros.zoo.shufflenet_v1 import ShuffleNetV1Config
from shufflenet_ros.zoo.shufflenet_v2 import REPEATS, ShuffleNetV2Config

Label = tuple[int, int]
Channels = npt.NDArray[np.int_]


def match(theirs: Sequence[Label], ours: Sequence[Label]) -> list[int] | None:
    """For each of our channels the index of a source channel with the same label; None if the counts differ.

    Channels with one label keep their order, so equal networks give the identity.
    """
    if sorted(theirs) != sorted(ours):
        return None
    by_label = sorted(range(len(theirs)), key=theirs.__getitem__)
    ours_by_label = sorted(range(len(ours)), key=ours.__getitem__)
    return [by_label[rank] for rank in positions(ours_by_label)]


def shuffled(channels: int, groups: int) -> list[int]:
    """Which channel is at each position after our channel shuffle."""
    return channel_shuffle(torch.arange(channels).view(1, -1, 1, 1), groups).flatten().tolist()


def positions(order: Sequence[int]) -> list[int]:
    """The inverse of an order: the position of each channel."""
    return sorted(range(len(order)), key=order.__getitem__)


def shuffle_after_depthwise(weights: Weights) -> Weights:
    """The step for a ShuffleNet v1 that shuffles after the depthwise convolution; ours shuffles before it.

    Moving the shuffle permutes the depthwise convolution and its BN. An inverse shuffle equals ours with
    permuted channels if, in both, as many channels go from compress group a to expand group b, for every a
    and b. Otherwise the network keeps the option `shuffle_inverse`.
    """
    config = weights.config
    assert isinstance(config, ShuffleNetV1Config)
    if config.groups == 1:  # no shuffle then
        return weights
    for inverse in (False, config.shuffle_inverse):
        orders = {(stage, unit): _compress_order(channels // 4, config, stage + unit > 0, inverse)
                  for stage, channels in enumerate(config.stage_channels)
                  for unit in range(config.repeats[stage])}
        if None not in orders.values():
            break
    done = Weights(dict(weights.tensors), replace(config, shuffle_inverse=inverse))
    for (stage, unit), order in orders.items():
        assert order is not None
        _reorder_unit(done, f'stage{stage + 2}.{unit}', order, config)
    return done


def _shuffled(channels: int, config: ShuffleNetV1Config, inverse: bool) -> list[int]:
    return shuffled(channels, channels // config.groups if inverse else config.groups)


def _compress_order(mid: int, config: ShuffleNetV1Config, grouped_first: bool, inverse: bool
                    ) -> list[int] | None:
    """For each output channel of our first convolution the source's index; None if no order fits.

    Args:
        mid: channels of the bottleneck.
        config: of the source network.
        grouped_first: whether the first convolution is grouped.
        inverse: whether our network shuffles with the inverse permutation.
    """
    per_group, per_first = mid // config.groups, mid // (config.groups if grouped_first else 1)

    def groups_around(inverse: bool) -> list[tuple[int, int]]:
        """Each channel's group in compress, which produces it, and in expand, which consumes it."""
        return [(channel // per_first, position // per_group)
                for channel, position in enumerate(positions(_shuffled(mid, config, inverse)))]

    return match(groups_around(config.shuffle_inverse), groups_around(inverse))


def _reorder_unit(weights: Weights, unit: str, compress: list[int], theirs: ShuffleNetV1Config) -> None:
    ours = weights.config
    assert isinstance(ours, ShuffleNetV1Config)
    mid = len(compress)
    depthwise = [compress[channel] for channel in _shuffled(mid, ours, ours.shuffle_inverse)]
    weights.reorder_outputs(f'{unit}.compress', f'{unit}.compress_bn', compress)
    weights.reorder_outputs(f'{unit}.depthwise', f'{unit}.depthwise_bn', depthwise)
    position = positions(_shuffled(mid, theirs, theirs.shuffle_inverse))
    # Matched channels have the same consumer, so each stays in its group: only the index there is used.
    columns = torch.tensor([position[channel] for channel in depthwise]) % (mid // ours.groups)
    blocks = zip(weights.tensors[f'{unit}.expand.weight'].chunk(ours.groups), columns.chunk(ours.groups))
    weights.tensors[f'{unit}.expand.weight'] = torch.cat([block[:, order] for block, order in blocks])


def split_even_odd(weights: Weights) -> Weights:
    """The step for Megvii's ShuffleNet v2: permute it into ours, or keep the option `megvii`.

    Megvii's stride-1 units keep the even channels, transform the odd ones and concatenate. Ours keep the
    first half, transform the second, concatenate and shuffle.

    The option stays if a stage's first branch is narrower than the second (all widths but 0.5, because
    Megvii's projection does not change the number of channels), or if producers and consumers do not match.
    """
    config = weights.config
    assert isinstance(config, ShuffleNetV2Config)
    done = Weights(dict(weights.tensors), replace(config, megvii=False))
    order = list(range(len(done.tensors['stem.0.weight'])))
    for stage, units in zip(STAGES, REPEATS):
        left, right = (len(done.tensors[f'{stage}.0.{conv}.weight']) for conv in ('branch1.2', 'branch2.5'))
        new_order = _reorder_stage(done, stage, units, order) if left == right else None
        if new_order is None:
            return weights
        order, done.orders[stage] = new_order, tuple(new_order)
    if 'last.0.weight' in done.tensors:
        done.reorder_inputs('last.0', order)
    return done


def _consumed(half: int, units: int, *, ours: bool) -> list[Channels]:
    """The channels that each stride-1 unit transforms, in order; the last entry is the stage's output.

    Channel p * half + i is output i of producer p: 0 is the first unit's branch1, p branch2 of unit p - 1.
    """
    out, consumed = np.arange(2 * half), []
    for unit in range(1, units):
        # The inverse shuffle puts the even channels first and the odd ones after them.
        mixed = out[shuffled(2 * half, 2 if ours else half)]
        consumed.append(mixed[half:])
        out = np.concatenate([mixed[:half], (unit + 1) * half + np.arange(half)])
    return [*consumed, out[shuffled(2 * half, 2)] if ours else out]


def _reorder_stage(weights: Weights, stage: str, units: int, incoming: list[int]) -> list[int] | None:
    """Permute one stage in place; returns the order of its output, or None if no permutation fits."""
    half = len(weights.tensors[f'{stage}.0.branch1.2.weight'])
    theirs, ours = _consumed(half, units, ours=False), _consumed(half, units, ours=True)

    def labels(consumed: list[Channels]) -> list[tuple[int, int]]:
        """Producer and consumer of each channel."""
        consumers = {int(c): unit for unit, channels in enumerate(consumed) for c in channels}
        return [(channel // half, consumer) for channel, consumer in sorted(consumers.items())]

    partners = match(labels(theirs), labels(ours))
    if partners is None:
        return None
    weights.reorder_outputs(f'{stage}.0.branch1.0', f'{stage}.0.branch1.1', incoming)
    for branch in ('branch1.2', 'branch2.0'):
        weights.reorder_inputs(f'{stage}.0.{branch}', incoming)
    producers = [('0.branch1.2', '0.branch1.3'),
                 *((f'{unit}.branch2.5', f'{unit}.branch2.6') for unit in range(units))]
    for producer, (conv, bn) in enumerate(producers):
        order = [channel % half for channel in partners[producer * half:(producer + 1) * half]]
        weights.reorder_outputs(f'{stage}.{conv}', f'{stage}.{bn}', order)
    index = {int(c): i for channels in theirs for i, c in enumerate(channels)}
    orders = [[index[partners[c]] for c in channels] for channels in ours]
    for unit, order in enumerate(orders[:-1], 1):
        weights.reorder_inputs(f'{stage}.{unit}.branch2.0', order)
    return orders[-1]
