# SPDX-License-Identifier: Apache-2.0
"""Another project's tensors under our names, before they are loaded into our network."""

from dataclasses import dataclass, field

import torch

from shufflenet_ros.zoo.errors import ZooError
from shufflenet_ros.zoo.registry import Config

Tensors = dict[str, torch.Tensor]
BN_LEAVES = ('weight', 'bias', 'running_mean', 'running_var')


@dataclass
class Weights:
    """Tensors under our names, and the network they belong to. The step of a layout changes both.

    Attributes:
        orders: stage -> channel i of its output is channel orders[i] in the source; no entry if the order is
            the same.
    """

    tensors: Tensors
    config: Config
    orders: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def reorder_outputs(self, conv: str, bn: str, order: list[int]) -> None:
        """Reorder the output channels of a convolution and its BN."""
        for key in (f'{conv}.weight', *(f'{bn}.{leaf}' for leaf in BN_LEAVES)):
            self.tensors[key] = self.tensors[key][torch.tensor(order)]

    def reorder_inputs(self, conv: str, order: list[int]) -> None:
        """Reorder the input channels of a convolution without groups."""
        self.tensors[f'{conv}.weight'] = self.tensors[f'{conv}.weight'][:, torch.tensor(order)]


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
