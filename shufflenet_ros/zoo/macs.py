"""Counting parameters and multiply-adds of a network by running it once."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True)
class Cost:
    """What a network costs. MACs are multiply-adds, one each, of convolutions and linear layers alone.

    Attributes:
        params: all learnt parameters.
        conv_macs: of the convolutions; the paper's Table 1 counts these.
        total_macs: with the linear layers; the paper's 1.5x and 2x figures count these.
    """

    params: int
    conv_macs: int
    total_macs: int


def _conv_macs(conv: nn.Conv2d, output: torch.Tensor) -> int:
    kernel = conv.kernel_size[0] * conv.kernel_size[1]
    return output[0].numel() * kernel * conv.in_channels // conv.groups


@torch.no_grad()
def count(model: nn.Module, size: tuple[int, int] = (224, 224)) -> Cost:
    """Cost of one (3, H, W) input."""
    conv_macs = linear_macs = 0

    def note(module: nn.Module, _inputs: Any, output: torch.Tensor) -> None:
        nonlocal conv_macs, linear_macs
        if isinstance(module, nn.Conv2d):
            conv_macs += _conv_macs(module, output)
        elif isinstance(module, nn.Linear):
            linear_macs += module.in_features * module.out_features

    hooks = [module.register_forward_hook(note) for module in model.modules()]
    try:
        model.eval()(torch.zeros(1, 3, *size))
    finally:
        for hook in hooks:
            hook.remove()
    params = sum(p.numel() for p in model.parameters())
    return Cost(params, conv_macs, conv_macs + linear_macs)
