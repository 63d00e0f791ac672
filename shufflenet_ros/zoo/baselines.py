# SPDX-License-Identifier: Apache-2.0
"""Other people's networks, to compare their cost with ShuffleNet's: AlexNet here, the rest from libraries.

scripts/requirements/compare.txt lists the libraries; they are installed without dependencies. pytorchcv's
networks are imported module by module: its model_provider loads all of them, and one needs torchvision.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import nn

from shufflenet_ros.zoo.macs import Cost, count

ALEXNET_PX = 227
"""Side of the input that the first convolution's 55x55 output needs; the publication says 224."""


class AlexNet(nn.Sequential):
    """AlexNet (Krizhevsky et al., 2012), to compare costs with; (N, 3, 227, 227) -> (N, 1000).

    The publication trained two towers on two GPUs; here they are convolutions with two groups. Libraries
    have later, one-tower versions of other widths. The ShuffleNet paper compares with this one.
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


@dataclass(frozen=True)
class Baseline:
    """A network to compare with.

    Attributes:
        name: the authors' name for it.
        module: that defines it.
        build: builds the network, given that module.
        error: published ImageNet top-1 error in %, single center crop; None if nobody published one.
        source: who published it.
        paper_mmacs: millions of multiply-adds according to the ShuffleNet paper; None if it has none.
        px: side of the input.
        note: how the counted definition differs from the one that has the error.
    """

    name: str
    module: str
    build: Callable[[Any], nn.Module]
    error: float | None
    source: str
    paper_mmacs: int | None = None
    px: int = 224
    note: str = ''

    def cost(self) -> Cost:
        """Parameters and multiply-adds at 1000 classes and the network's own input.

        Raises:
            ModuleNotFoundError: its library is not installed.
        """
        module = import_module(self.module)
        with torch.device('meta'):  # only shapes: VGG-16 would fill half a gigabyte
            network = self.build(module)
        return count(network, (self.px, self.px), batch=1)


_CV = 'pytorchcv.models'
_TABLE_5, _TABLE_6 = 'ShuffleNet, CVPR 2018, Table 5', 'ShuffleNet, CVPR 2018, Table 6'
_TORCHVISION = 'torchvision, first weights'
BASELINES = (
    Baseline('AlexNet', __name__, lambda m: m.AlexNet(), 42.8, _TABLE_6, 720, ALEXNET_PX,
             'two towers, as published in 2012'),
    Baseline('AlexNet, one tower', f'{_CV}.alexnet', lambda m: m.alexnetb(), 43.48, _TORCHVISION),
    Baseline('VGG-16', f'{_CV}.vgg', lambda m: m.vgg16(), 28.5, _TABLE_6, 15300),
    Baseline('GoogLeNet', 'googlenet_pytorch',
             lambda m: m.GoogLeNet.from_name('googlenet', {'aux_logits': False}), 31.3, _TABLE_6, 1500,
             note='without the two heads that only training uses'),
    Baseline('SqueezeNet 1.0', f'{_CV}.squeezenet', lambda m: m.squeezenet_v1_0(), 42.5, _TABLE_6, 833),
    Baseline('SqueezeNet 1.1', f'{_CV}.squeezenet', lambda m: m.squeezenet_v1_1(), 41.82, _TORCHVISION),
    Baseline('MobileNet 1.0', f'{_CV}.mobilenet', lambda m: m.mobilenet_w1(), 29.4, _TABLE_5, 569),
    Baseline('MobileNet 0.75', f'{_CV}.mobilenet', lambda m: m.mobilenet_w3d4(), 31.6, _TABLE_5, 325),
    Baseline('MobileNet 0.5', f'{_CV}.mobilenet', lambda m: m.mobilenet_wd2(), 36.3, _TABLE_5, 149),
    Baseline('MobileNet 0.25', f'{_CV}.mobilenet', lambda m: m.mobilenet_wd4(), 49.4, _TABLE_5, 41),
    Baseline('MobileNetV2 1.0', f'{_CV}.mobilenetv2', lambda m: m.mobilenetv2b_w1(), 28.12, _TORCHVISION,
             note="no bias in the last layer: 1000 parameters fewer than torchvision's"),
    Baseline('ResNet-50', f'{_CV}.resnet', lambda m: m.resnet50b(), 23.87, _TORCHVISION,
             note='stride in the 3x3 convolutions, as in torchvision'),
    Baseline('ResNeXt-50 32x4d', f'{_CV}.resnext', lambda m: m.resnext50_32x4d(), 22.38, _TORCHVISION),
)
