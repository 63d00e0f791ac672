# SPDX-License-Identifier: Apache-2.0
"""AlexNet (Krizhevsky et al., 2012) with its two towers, to compare costs with; not for training.

Libraries carry later, one-tower versions of other widths. The ShuffleNet paper compares with this one.
"""

from torch import nn

PX = 227
"""Side of the input that the first convolution's 55x55 output needs; the publication says 224."""


class AlexNet(nn.Sequential):
    """Five convolutions and three linear layers; (N, 3, 227, 227) -> (N, 1000).

    The publication trained two towers on two GPUs; here they are convolutions with two groups.
    """

    def __init__(self) -> None:
        def conv(c_in: int, c_out: int, kernel: int, groups: int = 1) -> list[nn.Module]:
            return [nn.Conv2d(c_in, c_out, kernel, 1, kernel // 2, groups=groups), nn.ReLU()]

        super().__init__(
            nn.Conv2d(3, 96, 11, 4), nn.ReLU(), nn.LocalResponseNorm(5), nn.MaxPool2d(3, 2),
            *conv(96, 256, 5, 2), nn.LocalResponseNorm(5), nn.MaxPool2d(3, 2),
            *conv(256, 384, 3), *conv(384, 384, 3, 2), *conv(384, 256, 3, 2), nn.MaxPool2d(3, 2),
            nn.Flatten(), nn.Dropout(), nn.Linear(256 * 6 * 6, 4096), nn.ReLU(),
            nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, 1000),
        )
