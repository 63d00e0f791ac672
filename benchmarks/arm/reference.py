# SPDX-License-Identifier: Apache-2.0
"""The reference networks: the zoo's, with 1000 classes, 224 px and seeded weights. Needs torch and onnx."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import numpy as np
import torch
from torch import nn

from shufflenet_ros.datasets.calibration import seeded_images
from shufflenet_ros.zoo import baselines
from shufflenet_ros.zoo.backbone import Backbone
from shufflenet_ros.zoo.export import OPSET, to_onnx
from shufflenet_ros.zoo.normalization import IMAGENET, normalize
from shufflenet_ros.zoo.registry import build, config_of

PX = 224
SEED = 0
STATISTICS = 4
"""Images of 224 px from which batch normalization takes its statistics; more if they are smaller."""
ALEXNETS = ('alexnet', 'alexnet_without_lrn')


def reference_onnx(name: str, px: int = PX, classes: int = 1000) -> bytes:
    """Return a network's graph as exported; its input is `frame`, (1, px, px, 3) uint8.

    ALEXNETS have a fixed size and number of classes.

    Raises:
        ZooError: no such network.
    """
    torch.set_num_threads(1)
    return _alexnet_onnx(name) if name in ALEXNETS else to_onnx(reference_network(name, px, classes), px)


def side(name: str) -> int:
    """Return the side of the square frame, in pixels."""
    return baselines.ALEXNET_PX if name in ALEXNETS else PX


@contextmanager
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        yield


@_seeded()
@torch.no_grad()
def reference_network(network: str | Mapping[str, Any], px: int = PX, classes: int = 1000) -> Backbone:
    """Seed the weights and fit batch normalization to them: values are as large as in a trained network.

    Raises:
        ZooError: no such network; see `zoo.registry.config_of`.
    """
    model = build(config_of(network, classes))
    for norm in (module for module in model.modules() if isinstance(module, nn.BatchNorm2d)):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, 0.0, 0.2)
        norm.momentum = None  # take the statistics of the one batch below
    images = seeded_images((px, px), STATISTICS * PX**2 // px**2, SEED)
    pixels = torch.from_numpy(np.stack([image.pixels for image in images]))
    model.train()(normalize(pixels, IMAGENET))
    return model.eval()


class _Frame(nn.Module):
    """AlexNet with the input of a bundle, (1, H, W, 3) uint8; subtracts the mean."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, frame: torch.Tensor) -> torch.Tensor:
        return self.network(frame.permute(0, 3, 1, 2).float() - 128)


@_seeded()
def _alexnet_onnx(name: str) -> bytes:
    """Export AlexNet with or without its local response normalization.

    Nobody leaves it out for accuracy. But it takes a third of AlexNet's time in ONNX Runtime, so with it the
    networks that are compared with AlexNet look better than they are.
    """
    network = baselines.AlexNet().eval()
    if name == 'alexnet_without_lrn':
        for index, module in enumerate(network):
            if isinstance(module, nn.LocalResponseNorm):
                network[index] = nn.Identity()
    buffer = BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of tracing
        frame = torch.zeros(1, baselines.ALEXNET_PX, baselines.ALEXNET_PX, 3, dtype=torch.uint8)
        torch.onnx.export(_Frame(network), (frame,), buffer, opset_version=OPSET, dynamo=False,
                          input_names=['frame'], output_names=['logits'])
    return buffer.getvalue()
