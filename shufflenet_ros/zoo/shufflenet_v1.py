# SPDX-License-Identifier: Apache-2.0
"""ShuffleNet v1 (Zhang et al., CVPR 2018) for every group count and width.

The paper does not specify rounding, the stem of scaled networks and the concatenation's order. Each choice
made here is a field of `ShuffleNetV1Config`, so that weights of other implementations fit too.
"""

from dataclasses import dataclass

import torch
from torch import nn

from shufflenet_ros.zoo.backbone import Backbone, conv_bn, conv_stem, make_stages
from shufflenet_ros.zoo.channel_shuffle import channel_shuffle
from shufflenet_ros.zoo.errors import ZooError

# Table 1 of the paper: output channels of stage 2 by group count; each next stage doubles them.
STAGE2_CHANNELS = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}
# Stem channels that reproduce the paper's complexities: 1.5x keeps 24 (292M), 0.25x needs about 12 (13M).
DEFAULT_STEMS = {0.25: 12, 0.5: 12, 0.75: 18, 1.0: 24, 1.5: 24, 2.0: 48}
STEM_025_MANY_GROUPS = 8
SE_REDUCTION = 16


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
    # The epsilon keeps floating-point noise from rounding products such as 0.1 * 240 up.
    first, second, third = (STAGE2_CHANNELS[groups] * 2**i * width - 1e-9 for i in range(3))
    step = 4 * groups
    return _round_up(first, step), _round_up(second, step), _round_up(third, step)


def stem_channels(groups: int, width: float) -> int:
    """Output channels of the first convolution, a multiple of g."""
    if width == 0.25 and groups in (4, 8):
        return STEM_025_MANY_GROUPS
    return _round_up(DEFAULT_STEMS.get(width, 24 * width) - 1e-9, groups)


@dataclass(frozen=True)
class ShuffleNetV1Config:
    """One network of the family.

    Attributes:
        groups: g of the grouped pointwise convolutions; 1, 2, 3, 4 or 8.
        width: the paper's scale factor s.
        classes: length of the logits.
        stem: output channels of the first convolution; 0 for the default, `stem_channels`.
        stages: output channels of stages 2, 3 and 4; empty for the default, `stage_channels`.
        repeats: units of stages 2, 3 and 4.
        se: squeeze-and-excitation on the residual branch before it is added or concatenated. The paper
            does not say where it goes (Table 5); here, a reduction of 16 gives its 527M at 2x.
        shuffle: False gives the paper's ablation (Table 3).
        shuffle_inverse: shuffle with the inverse permutation, as Megvii and tensorpack do.
        shortcut_first: order of the concatenation in stride-2 units. False, (branch, shortcut), is
            pytorchcv's order; Megvii, jaxony and mmpretrain have the other one. Weights of the two are
            not permutations of each other, because the groups split the channels at different points.
        stem_pool: False omits the max-pool, for images of 64 pixels. Every stage then works at twice the
            resolution, at four times the multiply-adds.
        bare_stem: the first convolution has a bias and neither BN nor ReLU, as in jaxony's code.
    """

    groups: int = 3
    width: float = 1.0
    classes: int = 1000
    stem: int = 0
    stages: tuple[int, ...] = ()
    repeats: tuple[int, int, int] = (4, 8, 4)
    se: bool = False
    shuffle: bool = True
    shuffle_inverse: bool = False
    shortcut_first: bool = False
    stem_pool: bool = True
    bare_stem: bool = False

    @property
    def stem_channels(self) -> int:
        """Output channels of the first convolution."""
        return self.stem or stem_channels(self.groups, self.width)

    @property
    def stage_channels(self) -> tuple[int, ...]:
        """Output channels of stages 2, 3 and 4."""
        return self.stages or stage_channels(self.groups, self.width)


class SqueezeExcite(nn.Module):
    """Scale each channel by a weight computed from the whole image (Hu et al., CVPR 2018), reduction 16."""

    def __init__(self, channels: int):
        super().__init__()
        self.squeeze = nn.Conv2d(channels, max(1, channels // SE_REDUCTION), 1)
        self.excite = nn.Conv2d(self.squeeze.out_channels, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        y = torch.relu(self.squeeze(x.mean((2, 3), keepdim=True)))
        return x * torch.sigmoid(self.excite(y))


class ShuffleUnit(nn.Module):
    """Figure 2 (b) and (c): grouped 1x1, shuffle, depthwise 3x3, grouped 1x1, around a shortcut.

    (N, c_in, H, W) -> (N, c_out, H/stride, W/stride). A stride-2 unit's branch gives c_out - c_in
    channels, its shortcut the average-pooled input; the bottleneck is c_out/4 in both kinds.
    """

    def __init__(self, c_in: int, c_out: int, stride: int, config: ShuffleNetV1Config, grouped_first: bool):
        super().__init__()
        mid, branch = c_out // 4, c_out - c_in if stride == 2 else c_out
        self.shortcut_first = config.shortcut_first
        # With one group the shuffle is the identity; it would only add a node to the exported graph.
        groups = config.groups if config.shuffle else 1
        self.shuffle_groups = mid // groups if config.shuffle_inverse and groups > 1 else groups
        self.compress, self.compress_bn = conv_bn(c_in, mid, 1, groups=config.groups if grouped_first else 1)
        self.depthwise, self.depthwise_bn = conv_bn(mid, mid, 3, stride, mid)
        self.expand, self.expand_bn = conv_bn(mid, branch, 1, groups=config.groups)
        self.se = SqueezeExcite(branch) if config.se else nn.Identity()
        self.pool = nn.AvgPool2d(3, 2, 1) if stride == 2 else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, c_in, H, W) float -> (N, c_out, H/stride, W/stride) float."""
        y = torch.relu(self.compress_bn(self.compress(x)))
        y = channel_shuffle(y, self.shuffle_groups)
        y = self.depthwise_bn(self.depthwise(y))  # no ReLU here (section 3.2)
        y = self.se(self.expand_bn(self.expand(y)))
        if self.pool is None:
            return torch.relu(x + y)
        shortcut = self.pool(x)
        return torch.relu(torch.cat((shortcut, y) if self.shortcut_first else (y, shortcut), 1))


class ShuffleNetV1(Backbone):
    """The whole network: stem, max-pool, stages 2 to 4, global pool, one linear layer.

    Raises:
        ZooError: the stem or a stage cannot be split into this many groups.
    """

    config: ShuffleNetV1Config

    def __init__(self, config: ShuffleNetV1Config):
        self.config = config
        groups, c_stem, channels = config.groups, config.stem_channels, config.stage_channels
        if c_stem % groups:
            raise ZooError(f'stem={c_stem}: expected a multiple of groups={groups}')
        for c in channels:
            if c % (4 * groups):
                raise ZooError(f'a stage of {c} channels: expected a multiple of {4 * groups}, as its '
                               f'bottleneck of a quarter is split into {groups} groups')

        def unit(c_in: int, c_out: int, stride: int) -> ShuffleUnit:
            # The first pointwise convolution has too few input channels to be grouped (Table 1).
            return ShuffleUnit(c_in, c_out, stride, config, (c_out, stride) != (channels[0], 2))

        stem = conv_stem(c_stem, nn.MaxPool2d(3, 2, 1) if config.stem_pool else None)
        if config.bare_stem:
            stem = nn.Sequential(nn.Conv2d(3, c_stem, 3, 2, 1), *list(stem)[3:])
        stages = make_stages(c_stem, channels, config.repeats, unit)
        super().__init__(stem, stages, channels[-1], config.classes)
