# SPDX-License-Identifier: Apache-2.0
"""Other people's networks, to compare their cost with ShuffleNet's. AlexNet is here, the rest in libraries.

scripts/requirements/compare.txt lists the libraries; they are installed without dependencies. pytorchcv's
networks are imported module by module: its model_provider loads all of them, and one needs torchvision.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch

from shufflenet_ros.zoo.alexnet import PX
from shufflenet_ros.zoo.macs import Cost, count
from shufflenet_ros.zoo.registry import NETWORKS

PAPER = 'ShuffleNet, CVPR 2018'
TORCHVISION = 'torchvision, first weights'


@dataclass(frozen=True)
class Baseline:
    """A network to compare with.

    Attributes:
        name: the authors' name for it.
        module: where it is defined.
        build: builds the network, given that module.
        error: published ImageNet top-1 error in %, single center crop; None if nobody published one.
        source: who published it.
        paper_mmacs: millions of multiply-adds according to the ShuffleNet paper; None if it has none.
        px: side of the input.
        note: how the counted definition differs from the one that has the error.
    """

    name: str
    module: str
    build: Callable[[Any], torch.nn.Module]
    error: float | None
    source: str
    paper_mmacs: int | None = None
    px: int = 224
    note: str = ''


_CV = 'pytorchcv.models'
TABLE_5, TABLE_6 = f'{PAPER}, Table 5', f'{PAPER}, Table 6'
BASELINES = (
    Baseline('AlexNet', 'shufflenet_ros.zoo.alexnet', lambda m: m.AlexNet(), 42.8, TABLE_6, 720, PX,
             'two towers, as published in 2012'),
    Baseline('AlexNet, one tower', f'{_CV}.alexnet', lambda m: m.alexnetb(), 43.48, TORCHVISION),
    Baseline('VGG-16', f'{_CV}.vgg', lambda m: m.vgg16(), 28.5, TABLE_6, 15300),
    Baseline('GoogLeNet', 'googlenet_pytorch',
             lambda m: m.GoogLeNet.from_name('googlenet', {'aux_logits': False}), 31.3, TABLE_6, 1500,
             note='without the two heads that only training uses'),
    Baseline('SqueezeNet 1.0', f'{_CV}.squeezenet', lambda m: m.squeezenet_v1_0(), 42.5, TABLE_6, 833),
    Baseline('SqueezeNet 1.1', f'{_CV}.squeezenet', lambda m: m.squeezenet_v1_1(), 41.82, TORCHVISION),
    Baseline('MobileNet 1.0', f'{_CV}.mobilenet', lambda m: m.mobilenet_w1(), 29.4, TABLE_5, 569),
    Baseline('MobileNet 0.75', f'{_CV}.mobilenet', lambda m: m.mobilenet_w3d4(), 31.6, TABLE_5, 325),
    Baseline('MobileNet 0.5', f'{_CV}.mobilenet', lambda m: m.mobilenet_wd2(), 36.3, TABLE_5, 149),
    Baseline('MobileNet 0.25', f'{_CV}.mobilenet', lambda m: m.mobilenet_wd4(), 49.4, TABLE_5, 41),
    Baseline('MobileNetV2 1.0', f'{_CV}.mobilenetv2', lambda m: m.mobilenetv2b_w1(), 28.12, TORCHVISION,
             note="no bias in the last layer: 1000 parameters fewer than torchvision's"),
    Baseline('ResNet-50', f'{_CV}.resnet', lambda m: m.resnet50b(), 23.87, TORCHVISION,
             note='stride in the 3x3 convolutions, as in torchvision'),
    Baseline('ResNeXt-50 32x4d', f'{_CV}.resnext', lambda m: m.resnext50_32x4d(), 22.38, TORCHVISION),
)


def zoo_baseline(name: str, paper_mmacs: int | None = None) -> Baseline:
    """A network of the registry, as a row beside the others."""
    entry = NETWORKS[name]
    return Baseline(name, 'shufflenet_ros.zoo.registry', lambda m: m.build(entry.config), entry.error,
                    entry.source, paper_mmacs, note=entry.note)


def cost_of(baseline: Baseline) -> Cost:
    """Parameters and multiply-adds at 1000 classes and the network's own input.

    Raises:
        ModuleNotFoundError: its library is not installed.
    """
    module = import_module(baseline.module)
    with torch.device('meta'):  # only shapes: VGG-16 would fill half a gigabyte
        return count(baseline.build(module), (baseline.px, baseline.px), batch=1)
