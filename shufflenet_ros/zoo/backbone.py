"""What every network of the zoo is: a stem, three stages, perhaps a last convolution, pooling and one layer.

Training, export, counting and import know networks through this class alone, so a new family needs only
its units and a line in the registry.
"""

from collections.abc import Sequence

import torch
from torch import nn

STAGES = ('stage2', 'stage3', 'stage4')


def conv_stem(channels: int, pool: nn.Module | None) -> nn.Sequential:
    """3x3 convolution with stride 2, BN, ReLU, and a max-pool where there is one.

    (N, 3, H, W) -> (N, channels, H/4, W/4), or H/2, W/2 without the pool.
    """
    layers = [nn.Conv2d(3, channels, 3, 2, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()]
    return nn.Sequential(*layers, *([pool] if pool else []))


class Backbone(nn.Module):
    """A network of the zoo, usable for its features, its embedding or its logits.

    Attributes:
        stem: (N, 3, H, W) -> stride 4 (2 where it does not pool); its first module is the first
            convolution.
        stage2, stage3, stage4: to strides 8, 16 and 32.
        last: after stage 4 and before pooling; nothing in v1, the 1x1 convolution of v2.
        embedding_dim: channels that are pooled.
        fc: the linear layer that gives the logits.
    """

    def __init__(self, stem: nn.Sequential, stages: Sequence[nn.Module], embedding_dim: int, classes: int,
                 last: nn.Module | None = None):
        super().__init__()
        self.stem = stem
        self.stage2, self.stage3, self.stage4 = stages
        self.last = last or nn.Identity()
        self.embedding_dim = embedding_dim
        self.fc = nn.Linear(embedding_dim, classes)
        self._init_weights()

    def _init_weights(self) -> None:
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

        Half those strides for a network whose stem does not pool.
        """
        stage2 = self.stage2(self.stem(x))
        stage3 = self.stage3(stage2)
        return stage2, stage3, self.stage4(stage3)

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) normalized RGB -> (N, embedding_dim): what the linear layer sees."""
        return self.last(self.features(x)[-1]).mean((2, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) normalized RGB -> (N, classes) logits."""
        return self.fc(self.embed(x))
