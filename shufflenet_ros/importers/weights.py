"""What travels from somebody's state dict to our network."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from shufflenet_ros.zoo.errors import ZooError
from shufflenet_ros.zoo.registry import Config

Tensors = dict[str, torch.Tensor]
BN_LEAVES = ('weight', 'bias', 'running_mean', 'running_var')


@dataclass(frozen=True)
class Weights:
    """Tensors under our names, and the network they belong to; each step of a layout gives a new one.

    Attributes:
        orders: stage -> what became of its output's channels: ours number i is theirs number orders[i];
            no entry where the order is the same.
    """

    tensors: Tensors
    config: Config
    orders: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


def shape_of(tensors: Tensors, key: str, dims: int) -> tuple[int, ...]:
    """Of a tensor from which the network's widths are read.

    Raises:
        ZooError: it is not there, or has another number of dimensions.
    """
    if key not in tensors:
        raise ZooError(f'no tensor for {key} (our name): expected a whole network; check that the file is '
                       'complete and that --layout is right')
    shape = tuple(tensors[key].shape)
    if len(shape) != dims or 0 in shape:
        raise ZooError(f'the tensor for {key} (our name) has shape {list(shape)}: expected {dims} '
                       'dimensions, none of them 0; check that --layout is right')
    return shape


def reorder_rows(tensors: Tensors, conv: str, bn: str, order: list[int]) -> None:
    """Give a convolution's output channels, and the BN after it, another order, in place."""
    index = torch.tensor(order)
    tensors[f'{conv}.weight'] = tensors[f'{conv}.weight'][index]
    for leaf in BN_LEAVES:
        tensors[f'{bn}.{leaf}'] = tensors[f'{bn}.{leaf}'][index]
