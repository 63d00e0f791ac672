# SPDX-License-Identifier: Apache-2.0
"""Count the parameters and multiply-adds of a network by running it once."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

KINDS = ('pointwise', 'depthwise', 'other_conv', 'linear')


@dataclass(frozen=True)
class Cost:
    """The cost of a network, as in models/networks.json. A MAC is one multiply-add.

    Attributes:
        params: all learned parameters.
        macs: of convolutions and linear layers; the paper's 1.5x and 2x figures count these.
        conv_macs: of the convolutions only; the paper's Table 1 counts these.
    """

    params: int
    macs: int
    conv_macs: int


@dataclass(frozen=True)
class LayerCost:
    """The cost and output of one module in one run.

    Attributes:
        name: as in `named_modules`; '' for the network itself.
        kind: one of `KINDS`; '' for everything that is not counted, such as BN and whole units.
        macs: multiply-adds; 0 if nothing is counted.
        shape: of its output, without the batch.
    """

    name: str
    kind: str
    macs: int
    shape: tuple[int, ...]


def _layer_cost(name: str, module: nn.Module, shape: torch.Size) -> LayerCost:
    kind, macs = '', 0
    if isinstance(module, nn.Linear):
        kind, macs = 'linear', shape.numel() * module.in_features
    elif isinstance(module, nn.Conv2d):
        kind = 'depthwise' if module.groups == module.in_channels > 1 else 'other_conv'
        if module.kernel_size == (1, 1):
            kind = 'pointwise'
        macs = shape.numel() * module.weight[0].numel()
    return LayerCost(name, kind, macs, tuple(shape))


@torch.no_grad()
def trace(model: nn.Module, x: torch.Tensor) -> tuple[LayerCost, ...]:
    """Run a network once on a batch of any length. Returns every module, each after those inside it."""
    layers: list[LayerCost] = []

    def record(name: str, module: nn.Module, _inputs: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor):
            layers.append(_layer_cost(name, module, output.shape[1:]))

    hooks = [module.register_forward_hook(partial(record, name)) for name, module in model.named_modules()]
    try:
        model.eval()(x)
    finally:
        for hook in hooks:
            hook.remove()
    return tuple(layers)


def params_of(module: nn.Module) -> int:
    """All learned parameters."""
    return sum(p.numel() for p in module.parameters())


def count(model: nn.Module, size: tuple[int, int] = (224, 224), batch: int = 0) -> Cost:
    """Cost of one (3, H, W) input.

    Args:
        batch: an empty batch gives all shapes and computes nothing. Networks that flatten with -1 need a
            batch of 1; build them on the meta device.
    """
    layers = trace(model, torch.zeros(batch, 3, *size, device=next(model.parameters()).device))
    linear = sum(layer.macs for layer in layers if layer.kind == 'linear')
    total = sum(layer.macs for layer in layers)
    return Cost(params_of(model), total, total - linear)
