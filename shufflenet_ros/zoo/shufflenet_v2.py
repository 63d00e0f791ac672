# SPDX-License-Identifier: Apache-2.0
"""ShuffleNet v2 (Ma et al., ECCV 2018, section 3): no groups, half of the channels bypass each unit.

Units and keys are laid out as torchvision's, because its weights are the published ones.
"""

from dataclasses import dataclass

import torch
from torch import nn

from shufflenet_ros.zoo.backbone import Backbone, conv_bn, conv_stem, make_stages
from shufflenet_ros.zoo.channel_shuffle import channel_shuffle
from shufflenet_ros.zoo.errors import ZooError

# Table 5 of the paper: output channels of stages 2, 3, 4 and of the last convolution.
CHANNELS = {
    0.5: (48, 96, 192, 1024), 1.0: (116, 232, 464, 1024),
    1.5: (176, 352, 704, 1024), 2.0: (244, 488, 976, 2048),
}
STEM = 24
REPEATS = (4, 8, 4)


@dataclass(frozen=True)
class ShuffleNetV2Config:
    """One network of the family.

    Attributes:
        width: 0.5, 1, 1.5 or 2 as in the paper; any other needs `channels`.
        classes: length of the logits.
        channels: of stages 2, 3, 4 and the last convolution; empty for the paper's.
        ceil_pool: the max-pool pads only at the bottom and right, as in pytorchcv's code.
        megvii: units as in Megvii's code: with stride 1 they transform every second channel instead of the
            second half; with stride 2 the first branch keeps the number of channels; nothing is shuffled.
    """

    width: float = 1.0
    classes: int = 1000
    channels: tuple[int, ...] = ()
    ceil_pool: bool = False
    megvii: bool = False


def _branch(c_in: int, mid: int, c_out: int, stride: int) -> nn.Sequential:
    """1x1, depthwise 3x3 (no ReLU after it), 1x1."""
    return nn.Sequential(
        *conv_bn(c_in, mid, 1), nn.ReLU(), *conv_bn(mid, mid, 3, stride, mid),
        *conv_bn(mid, c_out, 1), nn.ReLU())


class BasicUnit(nn.Module):
    """Figure 3 (c): split, transform one half, concatenate, shuffle. (N, C, H, W) -> (N, C, H, W)."""

    def __init__(self, channels: int, *, megvii: bool = False):
        super().__init__()
        self.half_channels = channels // 2
        self.megvii = megvii
        self.branch2 = _branch(self.half_channels, self.half_channels, self.half_channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        if self.megvii:  # the inverse shuffle puts the odd channels after the even ones
            x = channel_shuffle(x, self.half_channels)
        # split, because chunk would leave shape arithmetic in the exported graph
        kept, changed = torch.split(x, self.half_channels, 1)
        y = torch.cat((kept, self.branch2(changed)), 1)
        return y if self.megvii else channel_shuffle(y, 2)


class DownsamplingUnit(nn.Module):
    """Figure 3 (d): both branches see all channels. (N, c_in, H, W) -> (N, c_out, H/2, W/2)."""

    def __init__(self, c_in: int, c_out: int, *, megvii: bool = False):
        super().__init__()
        self.megvii = megvii
        first = c_in if megvii else c_out // 2
        self.branch1 = nn.Sequential(
            *conv_bn(c_in, c_in, 3, 2, c_in), *conv_bn(c_in, first, 1), nn.ReLU())
        self.branch2 = _branch(c_in, c_out // 2, c_out - first, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, c_in, H, W) -> (N, c_out, H/2, W/2)."""
        y = torch.cat((self.branch1(x), self.branch2(x)), 1)
        return y if self.megvii else channel_shuffle(y, 2)


class ShuffleNetV2(Backbone):
    """The whole network: stem, max-pool, stages of 4, 8 and 4 units, 1x1 convolution, pool, linear layer.

    Raises:
        ZooError: a width that is not in the paper, or stages with an odd number of channels.
    """

    config: ShuffleNetV2Config

    def __init__(self, config: ShuffleNetV2Config):
        self.config = config
        channels = config.channels or CHANNELS.get(config.width, ())
        if len(channels) != 4 or any(c % 2 for c in channels[:3]):
            raise ZooError(f'width={config.width}, channels={channels}: expected a width of '
                           f"{sorted(CHANNELS)}, or four channel counts, the stages' even")

        def unit(c_in: int, c_out: int, stride: int) -> nn.Module:
            if stride == 2:
                return DownsamplingUnit(c_in, c_out, megvii=config.megvii)
            return BasicUnit(c_out, megvii=config.megvii)

        stages = make_stages(STEM, channels[:3], REPEATS, unit)
        last = nn.Sequential(*conv_bn(channels[2], channels[3], 1), nn.ReLU())
        pool = nn.MaxPool2d(3, 2, 0, ceil_mode=True) if config.ceil_pool else nn.MaxPool2d(3, 2, 1)
        super().__init__(conv_stem(STEM, pool), stages, channels[3], config.classes, last)
