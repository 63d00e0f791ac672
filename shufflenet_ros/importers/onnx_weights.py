# SPDX-License-Identifier: Apache-2.0
"""Load the weights of an ONNX graph into one of our networks, and verify it by running both.

The graph's convolutions, in its order, must have the shapes, strides and groups of our network's convolutions
in order of execution. That does not verify the wiring between them, so both are run on the same images.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from shufflenet_ros.backends.ort import OnnxRuntimeBackend
from shufflenet_ros.backends.verify import verify_in_subprocess
from shufflenet_ros.bundles.bundle import Bundle
from shufflenet_ros.bundles.variants import resolve
from shufflenet_ros.core.card import Card
from shufflenet_ros.core.preprocess import preprocess
from shufflenet_ros.datasets.calibration import seeded_images
from shufflenet_ros.importers.convert import ImportedNetwork
from shufflenet_ros.importers.infer import infer
from shufflenet_ros.importers.onnx_graph import Conv, OnnxLayers, read_layers
from shufflenet_ros.zoo.backbone import Backbone
from shufflenet_ros.zoo.errors import ZooError
from shufflenet_ros.zoo.macs import trace
from shufflenet_ros.zoo.normalization import IMAGENET, Normalization, normalize
from shufflenet_ros.zoo.registry import FAMILIES, NETWORKS, Config, build, config_of

FLOAT_LIMIT = 1e-4
SAMPLES = 32
# An int8 graph rounds every activation, so its logits only resemble the float network's. Measured with the
# ONNX zoo's: 0.993 if right, 0.95 with red and blue exchanged, at most 0.85 without one of the biases.
INT8_CORRELATION = 0.97


@dataclass(frozen=True)
class Agreement:
    """How two networks agree on the same seeded images.

    Attributes:
        relative: largest difference of the logits, relative to the largest logit.
        correlation: of all logits of all images.
        top1: share of the images with the same first class.
    """

    relative: float
    correlation: float
    top1: float
    samples: int


def import_onnx_weights(bundle: Bundle) -> tuple[ImportedNetwork, Agreement]:
    """The network that the bundle's card or shapes describe, with the file's weights, verified.

    Raises:
        ModelError: the file cannot be run.
        ZooError: none of our networks has these convolutions, or it does not compute what the file computes.
    """
    what = str(bundle.path)
    source = resolve(bundle)
    if not bundle.trusted:
        verify_in_subprocess(source)
    layers = read_layers(bundle.data, what)
    model = build(_config(bundle.card, layers, what))
    normalization = _fill(model, layers, bundle.card, what)
    agreement = compare(model.eval(), normalization, OnnxRuntimeBackend(source), bundle.card)
    wrong = ''
    if layers.quantized and not agreement.correlation >= INT8_CORRELATION:
        wrong = (f"the float network's logits correlate with the file's by {agreement.correlation:.3f}: "
                 f'expected at least {INT8_CORRELATION}')
    elif not layers.quantized and not agreement.relative <= FLOAT_LIMIT:
        wrong = (f"the network's logits differ from the file's by {agreement.relative:.1e} of the largest: "
                 f'expected at most {FLOAT_LIMIT:.0e}')
    if wrong:
        raise ZooError(f'{what}: {wrong}; the graph is wired differently from all of our networks')
    return ImportedNetwork(model, 'onnx', normalization, bundle.card.input.crop), agreement


def _config(card: Card, layers: OnnxLayers, what: str) -> Config:
    """The card's configuration, or that of the ShuffleNet with as many convolutions of these shapes."""
    classes = len(layers.fc_weight)
    if card.network_config or card.network in NETWORKS:
        return config_of(dict(card.network_config) or card.network, classes)
    counts = {}
    for family in ('shufflenet_v1', 'shufflenet_v2'):
        config_type, _ = FAMILIES[family]
        order = _execution(build(config_type()))
        counts[family] = len(order)
        if len(order) == len(layers.convs):
            tensors = {f'{name}.weight': torch.from_numpy(conv.weight)
                       for (name, _, _), conv in zip(order, layers.convs)}
            return infer(family, tensors | {'fc.weight': torch.from_numpy(layers.fc_weight)})
    raise ZooError(f'{what}: has {len(layers.convs)} convolutions: expected as many as one of our networks '
                   f'({", ".join(f"{family} {count}" for family, count in counts.items())}), or a card with '
                   'network_config')


def _execution(model: Backbone) -> list[tuple[str, nn.Conv2d, nn.BatchNorm2d | None]]:
    """The convolutions by name in order of execution, each with the BN that runs after it."""
    order: list[tuple[str, nn.Conv2d, nn.BatchNorm2d | None]] = []
    for layer in trace(model, torch.zeros(0, 3, 64, 64)):
        module = model.get_submodule(layer.name)
        if isinstance(module, nn.Conv2d):
            order.append((layer.name, module, None))
        elif isinstance(module, nn.BatchNorm2d):
            order[-1] = (*order[-1][:2], module)
    return order


@torch.no_grad()
def _fill(model: Backbone, layers: OnnxLayers, card: Card, what: str) -> Normalization:
    """Copy all weights; returns the normalization that the network then expects."""
    order = _execution(model)
    if len(order) != len(layers.convs):
        raise ZooError(f'{what}: has {len(layers.convs)} convolutions: expected {len(order)}, as '
                       f'{card.network} has; correct the card')
    for (name, conv, norm), source in zip(order, layers.convs):
        ours = (tuple(conv.weight.shape), conv.stride[0], conv.groups)
        theirs = (source.weight.shape, source.stride, source.groups)
        if ours != theirs:
            raise ZooError(f'{what}: the convolution for {name} has shape, stride and groups {theirs}: '
                           f'expected {ours}; the graph is of another network or order, export it from '
                           'the original')
        _fill_conv(conv, norm, source, f'{what}: {name}')
    if tuple(model.fc.weight.shape) != layers.fc_weight.shape or len(layers.fc_bias) != len(layers.fc_weight):
        raise ZooError(f'{what}: its linear layer has shapes {layers.fc_weight.shape} and '
                       f'{layers.fc_bias.shape}: expected {tuple(model.fc.weight.shape)} and a bias; use '
                       'another network')
    model.fc.weight.copy_(torch.from_numpy(layers.fc_weight))
    model.fc.bias.copy_(torch.from_numpy(layers.fc_bias))
    return _unfold_input(model.first_conv, layers, card)


def _fill_conv(conv: nn.Conv2d, norm: nn.BatchNorm2d | None, source: Conv, what: str) -> None:
    conv.weight.copy_(torch.from_numpy(source.weight))
    bias = torch.from_numpy(source.bias)
    if norm is None:
        if conv.bias is None or source.norm:
            raise ZooError(f'{what} has a BN in only one of the two networks: expected the same in both; '
                           'the graph is of another network')
        conv.bias.copy_(bias)
        return
    assert norm.running_mean is not None and norm.running_var is not None
    if source.norm:
        weight, norm_bias, mean, var = map(torch.from_numpy, source.norm)
        values = weight, norm_bias, mean - bias, var + (source.eps - norm.eps)
    else:  # BN that only adds the bias: (x - 0) / sqrt(1 + eps) * sqrt(1 + eps) + bias
        one = torch.ones_like(bias)
        values = one * (1 + norm.eps) ** 0.5, bias, 0 * one, one
    for tensor, value in zip((norm.weight, norm.bias, norm.running_mean, norm.running_var), values):
        tensor.copy_(value)


def _unfold_input(stem: nn.Conv2d, layers: OnnxLayers, card: Card) -> Normalization:
    """Make the first convolution take normalized RGB; returns the normalization.

    If the input is bytes, the graph has 1 / (255 std) folded into its first weights, and the std is unknown.
    Any std will do, as long as weights and normalization agree; training here uses ImageNet's.
    """
    spec = card.input
    if spec.dtype == 'uint8':
        mean = np.zeros(3) if layers.mean is None else layers.mean / 255
        std = np.array(IMAGENET.std)
        if spec.color == 'bgr':
            std = std[::-1]
        stem.weight.mul_(torch.tensor(255 * std.copy(), dtype=torch.float32)[None, :, None, None])
    else:
        mean, std = (np.array(values) / (255 * spec.scale) for values in (spec.mean, spec.std))
    if spec.color == 'bgr':
        stem.weight.copy_(stem.weight.flip(1))
        mean, std = mean[::-1], std[::-1]
    # The mean from a graph is a float32: 0.485 comes back as 0.485000014.
    r, g, b = (float(f'{value:.7g}') for value in mean)
    sr, sg, sb = (float(value) for value in std)
    return Normalization((r, g, b), (sr, sg, sb))


@torch.no_grad()
def compare(model: Backbone, normalization: Normalization, backend: OnnxRuntimeBackend, card: Card
            ) -> Agreement:
    """Run the file with its own preprocessing, and the network with ours, on seeded images."""
    uncropped = replace(card.input, crop=1.0)
    theirs, ours = [], []
    for image in seeded_images(card.input.size, SAMPLES):
        theirs.append(backend.run(preprocess(image, uncropped)).logits)
        ours.append(model(normalize(torch.from_numpy(image.pixels)[None], normalization))[0].numpy())
    a, b = np.stack(theirs).astype(np.float64), np.stack(ours).astype(np.float64)
    return Agreement(
        relative=float(np.abs(a - b).max() / max(1e-12, np.abs(a).max())),
        correlation=float(np.corrcoef(a.ravel(), b.ravel())[0, 1]),
        top1=float(np.mean(a.argmax(1) == b.argmax(1))), samples=SAMPLES)
