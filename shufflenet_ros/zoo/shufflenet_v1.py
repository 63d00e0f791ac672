"""ShuffleNet v1 (Zhang et al., CVPR 2018) for every group count and width.

The paper is silent on rounding, on the stem of scaled networks and on the concatenation's order;
each choice made here is a field of `ShuffleNetV1Config`, so that other codes' weights can be carried.
"""

from dataclasses import dataclass

import torch
from torch import nn

from shufflenet_ros.zoo.channel_shuffle import channel_shuffle
from shufflenet_ros.zoo.errors import ZooError

# Table 1 of the paper: output channels of stage 2 by group count; each next stage doubles them.
STAGE2_CHANNELS = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}
# Stem channels that reproduce the paper's complexities: 1.5x keeps 24 (292M), 0.25x needs about 12 (13M).
DEFAULT_STEMS = {0.25: 12, 0.5: 12, 0.75: 18, 1.0: 24, 1.5: 24, 2.0: 48}
STEM_025_MANY_GROUPS = 8


def _round_up(value: float, multiple: int) -> int:
    return -int(-value // multiple) * multiple


def stage_channels(groups: int, width: float) -> tuple[int, int, int]:
    """Output channels of stages 2, 3 and 4: ceil(s*C / 4g) * 4g, so that C/4 divides by g.

    Raises:
        ZooError: the paper has no column for this group count, or the width is not positive.
    """
    if groups not in STAGE2_CHANNELS:
        raise ZooError(f'groups={groups}: expected one of {sorted(STAGE2_CHANNELS)} (Table 1 of the paper)')
    if not 0 < width <= 8:
        raise ZooError(f'width={width}: expected a scale factor in (0, 8], such as 0.5')
    # The tiny epsilon keeps products such as 0.1 * 240 from being rounded up by binary noise.
    first, second, third = (
        _round_up(STAGE2_CHANNELS[groups] * 2**i * width - 1e-9, 4 * groups) for i in range(3)
    )
    return first, second, third


def stem_channels(groups: int, width: float) -> int:
    """Output channels of the first convolution, a multiple of g."""
    stem = float(DEFAULT_STEMS.get(width, 24 * width))
    if width == 0.25 and groups in (4, 8):
        stem = STEM_025_MANY_GROUPS
    return _round_up(stem - 1e-9, groups)


@dataclass(frozen=True)
class ShuffleNetV1Config:
    """One network of the family.

    Attributes:
        groups: g of the grouped pointwise convolutions; 1, 2, 3, 4 or 8.
        width: the paper's scale factor s.
        classes: length of the logits.
        stem: output channels of the first convolution; 0 takes the default of `stem_channels`.
        repeats: units of stages 2, 3 and 4.
        shuffle: False gives the paper's ablation (Table 3).
        shortcut_first: order of the concatenation in stride-2 units. False, (branch, shortcut), is
            pytorchcv's order; Megvii, jaxony and mmpretrain have the other one. Weights of the two are
            not permutations of each other, as the groups cut the channels in different places.
    """

    groups: int = 3
    width: float = 1.0
    classes: int = 1000
    stem: int = 0
    repeats: tuple[int, int, int] = (4, 8, 4)
    shuffle: bool = True
    shortcut_first: bool = False

    @property
    def name(self) -> str:
        """Such as shufflenet_v1_x0_5_g3."""
        return f'shufflenet_v1_x{str(float(self.width)).replace(".", "_")}_g{self.groups}'


class Unit(nn.Module):
    """Figure 2 (b) and (c): grouped 1x1, shuffle, depthwise 3x3, grouped 1x1, around a shortcut.

    (N, c_in, H, W) -> (N, c_out, H/stride, W/stride). A stride-2 unit's branch gives c_out - c_in
    channels, its shortcut the average-pooled input; the bottleneck is c_out/4 in both kinds.
    """

    def __init__(self, c_in: int, c_out: int, stride: int, config: ShuffleNetV1Config, grouped_first: bool):
        super().__init__()
        mid, branch = c_out // 4, c_out - c_in if stride == 2 else c_out
        self.stride, self.shortcut_first = stride, config.shortcut_first
        # One group needs no shuffle: it would be the identity, and a useless node in the exported graph.
        self.shuffle_groups = config.groups if config.shuffle else 1
        self.compress = nn.Conv2d(c_in, mid, 1, groups=config.groups if grouped_first else 1, bias=False)
        self.compress_bn = nn.BatchNorm2d(mid)
        self.depthwise = nn.Conv2d(mid, mid, 3, stride, 1, groups=mid, bias=False)
        self.depthwise_bn = nn.BatchNorm2d(mid)
        self.expand = nn.Conv2d(mid, branch, 1, groups=config.groups, bias=False)
        self.expand_bn = nn.BatchNorm2d(branch)
        self.pool = nn.AvgPool2d(3, 2, 1) if stride == 2 else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, c_in, H, W) float -> (N, c_out, H/stride, W/stride) float."""
        y = torch.relu(self.compress_bn(self.compress(x)))
        y = channel_shuffle(y, self.shuffle_groups)
        y = self.depthwise_bn(self.depthwise(y))  # no ReLU here (section 3.2)
        y = self.expand_bn(self.expand(y))
        if self.pool is None:
            return torch.relu(x + y)
        shortcut = self.pool(x)
        return torch.relu(torch.cat((shortcut, y) if self.shortcut_first else (y, shortcut), 1))


class ShuffleNetV1(nn.Module):
    """The whole network: stem, max-pool, stages 2 to 4, global pool, one linear layer.

    Raises:
        ZooError: the stem or a stage cannot be cut into this many groups.
    """

    def __init__(self, config: ShuffleNetV1Config):
        super().__init__()
        self.config = config
        stem = config.stem or stem_channels(config.groups, config.width)
        if stem % config.groups:
            raise ZooError(f'stem={stem}: expected a multiple of groups={config.groups}')
        self.stem = nn.Sequential(
            nn.Conv2d(3, stem, 3, 2, 1, bias=False), nn.BatchNorm2d(stem), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
        )
        stages, c_in = [], stem
        channels = stage_channels(config.groups, config.width)
        for index, (c_out, units) in enumerate(zip(channels, config.repeats, strict=True)):
            stage = []
            for unit in range(units):
                # The very first pointwise convolution has too few input channels to be grouped (Table 1).
                grouped = index > 0 or unit > 0
                stage.append(Unit(c_in, c_out, 2 if unit == 0 else 1, config, grouped))
                c_in = c_out
            stages.append(nn.Sequential(*stage))
        self.stage2, self.stage3, self.stage4 = stages
        self.embedding_dim = c_in
        self.fc = nn.Linear(c_in, config.classes)
        self._init_weights()

    def _init_weights(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode='fan_out', nonlinearity='relu')
        nn.init.normal_(self.fc.weight, std=0.01)
        nn.init.zeros_(self.fc.bias)

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) normalised RGB -> (N, embedding_dim): the globally pooled output of stage 4."""
        return self.stage4(self.stage3(self.stage2(self.stem(x)))).mean((2, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) normalised RGB -> (N, classes) logits."""
        return self.fc(self.embed(x))
