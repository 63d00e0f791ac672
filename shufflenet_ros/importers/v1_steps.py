"""What other codes of ShuffleNet v1 do differently, undone without approximation."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from shufflenet_ros.importers.channel_matching import match, places, shuffled
from shufflenet_ros.importers.weights import Tensors, Weights, reorder_rows
from shufflenet_ros.zoo.shufflenet_v1 import ShuffleNetV1Config


def fold_conv_biases(weights: Weights) -> Weights:
    """A bias before BN only moves the mean that BN subtracts: mean' = mean - bias."""
    tensors = dict(weights.tensors)
    for key in weights.tensors:
        conv, _, leaf = key.rpartition('.')
        mean = f'{conv}_bn.running_mean'
        if leaf == 'bias' and mean in tensors:
            tensors[mean] = tensors[mean] - tensors.pop(key)
    return replace(weights, tensors=tensors)


def zero_fc_bias(weights: Weights) -> Weights:
    """A linear layer without bias is one with a bias of zeros."""
    if 'fc.weight' not in weights.tensors:
        return weights
    return replace(weights, tensors=weights.tensors | {'fc.bias': torch.zeros(weights.config.classes)})


@dataclass(frozen=True)
class _UnitOrders:
    """Where our unit's channels come from in theirs: rows of compress, of depthwise, columns of expand."""

    compress: list[int]
    depthwise: list[int]
    expand: list[int]


def _order(mid: int, groups: int, inverse: bool) -> list[int]:
    return shuffled(mid, mid // groups if inverse else groups)


def _unit_orders(mid: int, groups: int, grouped_first: bool, inverse: bool,
                 ours_inverse: bool) -> _UnitOrders | None:
    """None where no order of our unit's channels gives theirs.

    Args:
        mid: channels of the bottleneck.
        inverse: they shuffle with the inverse permutation.
        ours_inverse: so do we.
    """
    per_group, per_first = mid // groups, mid // (groups if grouped_first else 1)
    theirs, ours = _order(mid, groups, inverse), _order(mid, groups, ours_inverse)

    def fates(order: list[int]) -> list[tuple[int, int]]:
        return [(channel // per_first, place // per_group) for channel, place in enumerate(places(order))]

    compress = match(fates(theirs), fates(ours))
    if compress is None:
        return None
    # What lies at our depthwise convolution's place is their channel `after`, which their expand sees at:
    after = [compress[channel] for channel in ours]
    where = places(theirs)
    return _UnitOrders(compress, after, [where[channel] for channel in after])


def _reorder(tensors: Tensors, unit: str, groups: int, orders: _UnitOrders) -> None:
    reorder_rows(tensors, f'{unit}.compress', f'{unit}.compress_bn', orders.compress)
    reorder_rows(tensors, f'{unit}.depthwise', f'{unit}.depthwise_bn', orders.depthwise)
    expand = tensors[f'{unit}.expand.weight']
    # Equal fates keep every column in its group, so only the place within the group is taken.
    columns = (torch.tensor(orders.expand) % (len(orders.expand) // groups)).view(groups, -1)
    blocks = [block[:, order] for block, order in zip(expand.chunk(groups), columns)]
    tensors[f'{unit}.expand.weight'] = torch.cat(blocks)


def shuffle_after_depthwise(*, inverse: bool) -> Callable[[Weights], Weights]:
    """The step for a code that shuffles after the depthwise convolution; we do so before it.

    Moving the shuffle permutes the depthwise convolution and its BN. An inverse shuffle is ours with
    permuted channels where as many channels go from compress group a to expand group b in both, for every
    a and b; else the network keeps the option `shuffle_inverse`.
    """
    def step(weights: Weights) -> Weights:
        config = weights.config
        assert isinstance(config, ShuffleNetV1Config)
        if config.groups == 1:  # nobody shuffles then
            return weights
        mids = {f'stage{stage + 2}.{unit}': (config.stage_channels[stage] // 4, stage > 0 or unit > 0)
                for stage in range(3) for unit in range(config.repeats[stage])}

        def orders(ours_inverse: bool) -> dict[str, _UnitOrders | None]:
            return {name: _unit_orders(mid, config.groups, grouped, inverse, ours_inverse)
                    for name, (mid, grouped) in mids.items()}

        ours_inverse = inverse and None in orders(False).values()
        tensors = dict(weights.tensors)
        for name, unit_orders in orders(ours_inverse).items():
            assert unit_orders is not None
            _reorder(tensors, name, config.groups, unit_orders)
        return replace(weights, tensors=tensors, config=replace(config, shuffle_inverse=ours_inverse))
    return step
