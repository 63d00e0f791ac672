# SPDX-License-Identifier: Apache-2.0
"""Undo what other implementations of ShuffleNet v1 do differently, without approximation."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from shufflenet_ros.importers.channel_matching import match, positions, shuffled
from shufflenet_ros.importers.weights import Tensors, Weights, reorder_outputs
from shufflenet_ros.zoo.shufflenet_v1 import ShuffleNetV1Config


def fold_conv_biases(weights: Weights) -> Weights:
    """Fold a bias before BN into the mean that BN subtracts: mean' = mean - bias."""
    tensors = dict(weights.tensors)
    for key in weights.tensors:
        conv, _, leaf = key.rpartition('.')
        mean = f'{conv}_bn.running_mean'
        if leaf == 'bias' and mean in tensors:
            tensors[mean] = tensors[mean] - tensors.pop(key)
    return replace(weights, tensors=tensors)


def zero_fc_bias(weights: Weights) -> Weights:
    """Give a linear layer without bias one of zeros."""
    if 'fc.weight' not in weights.tensors:
        return weights
    return replace(weights, tensors=weights.tensors | {'fc.bias': torch.zeros(weights.config.classes)})


@dataclass(frozen=True)
class _UnitOrders:
    """For each of our channels the index of theirs: outputs of compress and depthwise, inputs of expand."""

    compress: list[int]
    depthwise: list[int]
    expand: list[int]


def _unit_orders(mid: int, groups: int, grouped_first: bool, inverse: bool,
                 ours_inverse: bool) -> _UnitOrders | None:
    """None if no order of our unit's channels gives theirs.

    Args:
        mid: channels of the bottleneck.
        inverse: they shuffle with the inverse permutation.
        ours_inverse: so do we.
    """
    per_group, per_first = mid // groups, mid // (groups if grouped_first else 1)
    theirs, ours = (shuffled(mid, mid // groups if inv else groups) for inv in (inverse, ours_inverse))

    def groups_around(order: list[int]) -> list[tuple[int, int]]:
        """Each channel's group in compress, which produces it, and in expand, which consumes it."""
        return [(channel // per_first, position // per_group)
                for channel, position in enumerate(positions(order))]

    compress = match(groups_around(theirs), groups_around(ours))
    if compress is None:
        return None
    depthwise = [compress[channel] for channel in ours]
    position = positions(theirs)
    return _UnitOrders(compress, depthwise, [position[channel] for channel in depthwise])


def _reorder(tensors: Tensors, unit: str, groups: int, orders: _UnitOrders) -> None:
    reorder_outputs(tensors, f'{unit}.compress', f'{unit}.compress_bn', orders.compress)
    reorder_outputs(tensors, f'{unit}.depthwise', f'{unit}.depthwise_bn', orders.depthwise)
    expand = tensors[f'{unit}.expand.weight']
    # Matched channels have the same consumer, so each stays in its group: only the index there is used.
    columns = (torch.tensor(orders.expand) % (len(orders.expand) // groups)).view(groups, -1)
    blocks = [block[:, order] for block, order in zip(expand.chunk(groups), columns)]
    tensors[f'{unit}.expand.weight'] = torch.cat(blocks)


def shuffle_after_depthwise(*, inverse: bool) -> Callable[[Weights], Weights]:
    """The step for code that shuffles after the depthwise convolution; ours shuffles before it.

    Moving the shuffle permutes the depthwise convolution and its BN. An inverse shuffle equals ours with
    permuted channels if, in both, as many channels go from compress group a to expand group b, for every a
    and b. Otherwise the network keeps the option `shuffle_inverse`.
    """
    def step(weights: Weights) -> Weights:
        config = weights.config
        assert isinstance(config, ShuffleNetV1Config)
        if config.groups == 1:  # no shuffle then
            return weights

        def unit_channel_orders(ours_inverse: bool) -> dict[str, _UnitOrders | None]:
            return {f'stage{stage + 2}.{unit}': _unit_orders(
                        channels // 4, config.groups, stage > 0 or unit > 0, inverse, ours_inverse)
                    for stage, channels in enumerate(config.stage_channels)
                    for unit in range(config.repeats[stage])}

        ours_inverse = inverse and None in unit_channel_orders(False).values()
        tensors = dict(weights.tensors)
        for name, orders in unit_channel_orders(ours_inverse).items():
            assert orders is not None
            _reorder(tensors, name, config.groups, orders)
        return replace(weights, tensors=tensors, config=replace(config, shuffle_inverse=ours_inverse))
    return step
