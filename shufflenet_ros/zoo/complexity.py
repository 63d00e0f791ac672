# SPDX-License-Identifier: Apache-2.0
"""What a unit costs: the paper's formulas, and a network's cost unit by unit."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from shufflenet_ros.zoo.backbone import STAGES, Backbone
from shufflenet_ros.zoo.errors import ZooError
from shufflenet_ros.zoo.macs import KINDS, params_of, trace


def resnet_macs(c: int, m: int, h: int, w: int) -> int:
    """hw(2cm + 9m^2): ResNet's bottleneck unit with stride 1 (section 3.2 of the paper).

    Args:
        c: channels of input and output.
        m: channels of the bottleneck.
        h, w: height and width of the input.

    Returns:
        multiply-adds, one each.

    Raises:
        ZooError: a count below 1.
    """
    return resnext_macs(c, m, 1, h, w)


def resnext_macs(c: int, m: int, g: int, h: int, w: int) -> int:
    """hw(2cm + 9m^2/g): ResNeXt's unit with stride 1, its 3x3 convolution in g groups (section 3.2).

    Arguments and errors as `resnet_macs`; g divides c and m.
    """
    _check(g, c=c, m=m, h=h, w=w)
    return h * w * (2 * c * m + 9 * m * m // g)


def shufflenet_macs(c: int, m: int, g: int, h: int, w: int) -> int:
    """hw(2cm/g + 9m): ShuffleNet's unit with stride 1, both 1x1 convolutions in g groups (section 3.2).

    Not for units with stride 2, nor for Stage 2's first, whose first 1x1 is not grouped.
    Arguments and errors as `resnext_macs`.
    """
    _check(g, c=c, m=m, h=h, w=w)
    return h * w * (2 * c * m // g + 9 * m)


def _check(groups: int, **counts: int) -> None:
    for name, value in counts.items():
        if value < 1:
            raise ZooError(f'{name}={value}: expected at least 1')
    for name in ('c', 'm'):
        if groups < 1 or counts[name] % groups:
            raise ZooError(f'{name}={counts[name]}, g={groups}: expected channels that g groups can share')


@dataclass(frozen=True)
class UnitCost:
    """The cost of a stem, a unit or a layer of a network.

    Attributes:
        name: such as `stage2.0`, as in the state dict.
        shape: of the output: (C, H, W), or (classes,).
        params: learned parameters.
        macs: multiply-adds by kind (`macs.KINDS`).
    """

    name: str
    shape: tuple[int, ...]
    params: int
    macs: Mapping[str, int]

    @property
    def total_macs(self) -> int:
        """Of all kinds."""
        return sum(self.macs.values())


def unit_costs(network: Backbone, px: int = 224) -> tuple[UnitCost, ...]:
    """A network split into stem, units, last convolution and linear layer. The sums are those of `count`.

    Args:
        px: side of the input.
    """
    layers = trace(network, torch.zeros(0, 3, px, px))
    shapes = {layer.name: layer.shape for layer in layers}
    units = [f'{stage}.{i}' for stage in STAGES for i in range(len(getattr(network, stage)))]
    costs = []
    for name in ('stem', *units, 'last', 'fc'):
        params = params_of(network.get_submodule(name))
        if params:  # v1 has no last convolution
            macs = dict.fromkeys(KINDS, 0)
            for layer in layers:
                if layer.kind and f'{layer.name}.'.startswith(f'{name}.'):
                    macs[layer.kind] += layer.macs
            costs.append(UnitCost(name, shapes[name], params, macs))
    return tuple(costs)
