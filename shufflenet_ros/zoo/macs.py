# SPDX-License-Identifier: Apache-2.0
"""Count the parameters and multiply-adds of a network by running it once."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

KINDS = ('pointwise', 'depthwise', 'other_conv', 'linear')


@dataclass(frozen=True)
class Cost:
    """What a network costs. MACs are multiply-adds, one each, of convolutions and linear layers only.

    Attributes:
        params: all learned parameters.
        conv_macs: of the convolutions; the paper's Table 1 counts these.
        total_macs: with the linear layers; the paper's 1.5x and 2x figures count these.
    """

    params: int
    conv_macs: int
    total_macs: int


@dataclass(frozen=True)
class LayerCost:
    """The cost and output of one module in one run.

    Attributes:
        name: as in `named_modules`; '' for the network itself.
        kind: one of `KINDS`; '' for everything that is not counted, such as BN and whole units.
        macs: multiply-adds; 0 where nothing is counted.
        shape: of its output, without the batch.
    """

    name: str
    kind: str
    macs: int
    shape: tuple[int, ...]


def _kind_and_macs(module: nn.Module, output: torch.Tensor) -> tuple[str, int]:
    outputs = output.shape[1:].numel()
    if isinstance(module, nn.Linear):
        return 'linear', outputs * module.in_features
    if not isinstance(module, nn.Conv2d):
        return '', 0
    depthwise = 'depthwise' if module.groups == module.in_channels > 1 else 'other_conv'
    kernel = module.kernel_size[0] * module.kernel_size[1]
    return ('pointwise' if module.kernel_size == (1, 1) else depthwise,
            outputs * kernel * module.in_channels // module.groups)


@torch.no_grad()
def trace(model: nn.Module, x: torch.Tensor) -> tuple[LayerCost, ...]:
    """Run a network once on a batch of any length. Returns every module, each after those inside it."""
    layers: list[LayerCost] = []

    def make_hook(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def record(module: nn.Module, _inputs: Any, output: Any) -> None:
            if isinstance(output, torch.Tensor):
                layers.append(LayerCost(name, *_kind_and_macs(module, output), tuple(output.shape[1:])))
        return record

    hooks = [module.register_forward_hook(make_hook(name)) for name, module in model.named_modules()]
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
        batch: an empty batch gives all shapes and computes nothing. A network that flattens with -1 cannot
            take it: use 1, and build and count the network on the meta device.
    """
    layers = trace(model, torch.zeros(batch, 3, *size))
    linear = sum(layer.macs for layer in layers if layer.kind == 'linear')
    total = sum(layer.macs for layer in layers)
    return Cost(params_of(model), total - linear, total)
