# SPDX-License-Identifier: Apache-2.0
"""Other units on ShuffleNet v1's skeleton, at its cost (Table 4 of the paper): what the shuffle gains.

The units are ResNet's bottleneck, ResNeXt's, or two plain 3x3 convolutions (VGG). The paper's Xception-like
network is ShuffleNet with one group: `shufflenet_v1_x1_0_g1` and similar.

The paper gives the width of Stage 4 at 38 MFLOPs (ResNet and ResNeXt 192, VGG 50). It does not give the other
widths, the stems, the stride-2 units and the bottlenecks that 16 groups cannot share. Several conventions
were tried (average-pooled, projected or padded shortcut; stride in the 3x3 or the first 1x1; stem of 12 or
24; ways to round). With these, the widths nearest to 38M are the paper's. That is a fit, it does not show
that the authors built it so. All other widths are the nearest to their budget under the same conventions.
"""

from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import nn

from shufflenet_ros.zoo.backbone import Backbone, conv_bn, conv_stem, make_stages
from shufflenet_ros.zoo.errors import ZooError

REPEATS = (4, 8, 4)
CARDINALITY = 16
UNITS = ('resnet', 'resnext', 'vgg')


@dataclass(frozen=True)
class ComparisonConfig:
    """One network of the family.

    Attributes:
        unit: of the stages: `resnet`, `resnext` or `vgg`.
        stages: output channels of stages 2, 3 and 4.
        stem: output channels of the first convolution.
        classes: length of the logits.
        stem_pool: False omits the max-pool, as in `ShuffleNetV1Config`.
    """

    unit: Literal['resnet', 'resnext', 'vgg'] = 'resnet'
    stages: tuple[int, ...] = (48, 96, 192)
    stem: int = 12
    classes: int = 1000
    stem_pool: bool = True


class Bottleneck(nn.Module):
    """1x1, (grouped) 3x3, 1x1 around a shortcut, which is a projection if the shape changes.

    ResNet's unit (He et al., CVPR 2016) with one group, ResNeXt's (Xie et al., CVPR 2017) with more.
    (N, c_in, H, W) -> (N, c_out, H/stride, W/stride).
    """

    def __init__(self, c_in: int, c_out: int, mid: int, groups: int = 1, stride: int = 1):
        super().__init__()
        self.branch = nn.Sequential(
            *conv_bn(c_in, mid, 1), nn.ReLU(),
            *conv_bn(mid, mid, 3, stride, groups), nn.ReLU(),
            *conv_bn(mid, c_out, 1),
        )
        same = stride == 1 and c_in == c_out
        self.shortcut = nn.Identity() if same else nn.Sequential(*conv_bn(c_in, c_out, 1, stride))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, c_in, H, W) float -> (N, c_out, H/stride, W/stride) float."""
        return torch.relu(self.branch(x) + self.shortcut(x))


def resnext_bottleneck(c_out: int) -> int:
    """The multiple of the cardinality that is nearest to c_out/2; of two, the smaller one."""
    return max(CARDINALITY, -(-(c_out - CARDINALITY) // (2 * CARDINALITY)) * CARDINALITY)


def make_unit(kind: str, c_in: int, c_out: int, stride: int) -> nn.Module:
    """A unit of one of UNITS: (N, c_in, H, W) -> (N, c_out, H/stride, W/stride)."""
    if kind == 'vgg':
        return nn.Sequential(*conv_bn(c_in, c_out, 3, stride), nn.ReLU(),
                             *conv_bn(c_out, c_out, 3), nn.ReLU())
    if kind == 'resnext':
        return Bottleneck(c_in, c_out, resnext_bottleneck(c_out), CARDINALITY, stride)
    return Bottleneck(c_in, c_out, -(-c_out // 4), 1, stride)


class ComparisonNet(Backbone):
    """ShuffleNet v1's skeleton with another unit.

    Raises:
        ZooError: an unknown unit, not three positive stage widths, or no stem.
    """

    config: ComparisonConfig

    def __init__(self, config: ComparisonConfig):
        self.config = config
        if config.unit not in UNITS:
            raise ZooError(f'unit={config.unit!r}: expected one of {list(UNITS)}')
        if len(config.stages) != 3 or min(config.stages) < 1:
            raise ZooError(f'stages={config.stages}: expected the widths of stages 2, 3 and 4')
        if config.stem < 1:
            raise ZooError(f'stem={config.stem}: expected at least 1 channel')
        stages = make_stages(config.stem, config.stages, REPEATS, partial(make_unit, config.unit))
        stem = conv_stem(config.stem, nn.MaxPool2d(3, 2, 1) if config.stem_pool else None)
        super().__init__(stem, stages, config.stages[-1], config.classes)
