# SPDX-License-Identifier: Apache-2.0
"""The structure that all networks of the zoo share: stem, three stages, pooling, one linear layer.

Training, export, counting and import use only this class. So a new family needs only its units and a line
in the registry.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

STAGES = ('stage2', 'stage3', 'stage4')


def conv_bn(c_in: int, c_out: int, kernel: int, stride: int = 1, groups: int = 1
            ) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    """A padded convolution without bias, and its BN: (N, c_in, H, W) -> (N, c_out, H/stride, W/stride)."""
    conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return conv, nn.BatchNorm2d(c_out)


def conv_stem(channels: int, pool: nn.Module | None) -> nn.Sequential:
    """3x3 convolution with stride 2, BN, ReLU, and a max-pool if one is given.

    (N, 3, H, W) -> (N, channels, H/4, W/4), or H/2, W/2 without the pool.
    """
    return nn.Sequential(*conv_bn(3, channels, 3, 2), nn.ReLU(), *([pool] if pool else []))


def make_stages(c_in: int, channels: Sequence[int], repeats: Sequence[int],
                unit: Callable[[int, int, int], nn.Module]) -> list[nn.Sequential]:
    """Stages of units; the first unit of each halves the resolution.

    Args:
        c_in: channels of the first stage's input.
        channels: of the stages' outputs.
        repeats: units of each stage.
        unit: makes one from its input channels, output channels and stride.
    """
    stages = []
    for c_out, units in zip(channels, repeats, strict=True):
        stage = []
        for index in range(units):
            stage.append(unit(c_in, c_out, 1 if index else 2))
            c_in = c_out
        stages.append(nn.Sequential(*stage))
    return stages


class Backbone(nn.Module):
    """A network of the zoo, usable for its features, its embedding or its logits.

    Attributes:
        config: the family's configuration; subclasses set it.
        stem: (N, 3, H, W) -> stride 4, or 2 without a pool. Its first module is the first convolution.
        stage2, stage3, stage4: to strides 8, 16 and 32.
        last: after stage 4, before pooling: the 1x1 convolution of v2, nothing in v1.
        embedding_dim: channels that are pooled.
        fc: the linear layer, whose output are the logits.
    """

    config: Any

    def __init__(self, stem: nn.Sequential, stages: Sequence[nn.Module], embedding_dim: int, classes: int,
                 last: nn.Module | None = None):
        super().__init__()
        self.stem = stem
        self.stage2, self.stage3, self.stage4 = stages
        self.last = last or nn.Identity()
        self.embedding_dim = embedding_dim
        self.fc = nn.Linear(embedding_dim, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode='fan_out', nonlinearity='relu')
        nn.init.normal_(self.fc.weight, std=0.01)
        nn.init.zeros_(self.fc.bias)

    @property
    def first_conv(self) -> nn.Conv2d:
        """The convolution that sees the image; export folds the normalization's scale into it."""
        conv = self.stem[0]
        assert isinstance(conv, nn.Conv2d)
        return conv

    def features(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(N, 3, H, W) normalized RGB -> the stages' outputs (N, C, H/s, W/s) at strides s = 8, 16, 32.

        A network whose stem does not pool has half those strides.
        """
        stage2 = self.stage2(self.stem(x))
        stage3 = self.stage3(stage2)
        return stage2, stage3, self.stage4(stage3)

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) normalized RGB -> (N, embedding_dim): the input of the linear layer."""
        last: torch.Tensor = self.last(self.features(x)[-1])
        return last.mean((2, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) normalized RGB -> (N, classes) logits."""
        logits: torch.Tensor = self.fc(self.embed(x))
        return logits
