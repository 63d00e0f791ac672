# SPDX-License-Identifier: Apache-2.0
"""Another project's tensors under our names, before they are loaded into our network."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from shufflenet_ros.zoo.errors import ZooError
from shufflenet_ros.zoo.registry import Config

Tensors = dict[str, torch.Tensor]
BN_LEAVES = ('weight', 'bias', 'running_mean', 'running_var')


@dataclass(frozen=True)
class Weights:
    """Tensors under our names, and the network they belong to. Each step of a layout returns a new one.

    Attributes:
        orders: stage -> channel i of its output is channel orders[i] of theirs; no entry if they agree.
    """

    tensors: Tensors
    config: Config
    orders: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


def shape_of(tensors: Tensors, key: str, dims: int) -> tuple[int, ...]:
    """Shape of a tensor from which the network's widths are read.

    Raises:
        ZooError: it is missing, or has another number of dimensions.
    """
    shape = tuple(tensors[key].shape) if key in tensors else ()
    if len(shape) != dims or 0 in shape:
        got = f'has shape {list(shape)}' if key in tensors else 'is missing'
        raise ZooError(f'the tensor for {key} (our name) {got}: expected {dims} dimensions, none of them 0; '
                       'check that the file is complete and --layout right')
    return shape


def reorder_outputs(tensors: Tensors, conv: str, bn: str, order: list[int]) -> None:
    """Reorder the output channels of a convolution and its BN, in place."""
    for key in (f'{conv}.weight', *(f'{bn}.{leaf}' for leaf in BN_LEAVES)):
        tensors[key] = tensors[key][torch.tensor(order)]


def reorder_inputs(tensors: Tensors, key: str, order: list[int]) -> None:
    """Reorder the input channels of a convolution's weight, in place."""
    tensors[key] = tensors[key][:, torch.tensor(order)]
