"""Convolutions and pools of an ONNX graph as layers."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from shufflenet_ros.packer.errors import UnsupportedGraphError
from shufflenet_ros.packer.layers import Floats, Layer, Layers
from shufflenet_ros.packer.network import STEM_OFFSET
from shufflenet_ros.packer.node import NO_PADDING, PADDING_AROUND, PADDING_AT_END, Node
from shufflenet_ros.packer.values import Pixels, Planes, Value

Given: TypeAlias = Sequence[Any]
"""What a node is fed that is no constant."""


def convolution(node: Node, given: Given, layers: Layers) -> list[Value]:
    """The stem on pixels; on planes a pointwise or depthwise convolution."""
    if len(given) != 1 or not isinstance(given[0], (Pixels, Planes)):
        raise UnsupportedGraphError('a convolution of means, such as squeeze-and-excitation has, or of computed weights')
    weights = node.weights(1)
    if weights.ndim != 4:
        raise UnsupportedGraphError(f'weights of {list(weights.shape)}: expected a convolution of planes')
    bias = node.bias(2, len(weights))
    if isinstance(given[0], Pixels):
        return [_stem(node, given[0], layers, weights, bias)]
    value = _plain(given[0])
    groups, count = int(node.get('group', 1)), value.ids.size
    if weights.shape[1] * groups != count or len(weights) % groups:
        raise UnsupportedGraphError(f'weights of {list(weights.shape)} in {groups} groups do not fit {count} channels')
    if weights.shape[2:] == (1, 1):
        node.window(1, (1,), NO_PADDING)
        layer = Layer('pointwise', layers.read(value.channels), weights[:, :, 0, 0], bias, value.size, groups)
    elif weights.shape[2:] == (3, 3) and groups == count == len(weights):
        layer = _depthwise(node, value, layers, weights[:, 0], bias)
    else:
        raise UnsupportedGraphError(f'a {weights.shape[2]}x{weights.shape[3]} convolution of {count} channels in {groups} '
                       'groups: expected 1x1, or 3x3 with a group a channel')
    return [Planes(layers.append(layer)[None], layer.size)]


def _plain(value: Planes) -> Planes:
    if not value.plain:
        raise UnsupportedGraphError(f'works on a tensor of shape {list(value.shape)}: expected (1, C, H, W)')
    return value


def _stem(node: Node, value: Pixels, layers: Layers, weights: Floats, bias: Floats) -> Value:
    """The scale goes into the weights; pixels are taken from STEM_OFFSET on, and so is the mean that pads."""
    if weights.shape[1:] != (3, 3, 3) or node.get('group', 1) != 1 or layers.done:
        raise UnsupportedGraphError(f'weights of {list(weights.shape)}: expected one 3x3 convolution of the three colors')
    if value.axes != 'NCHW' or not value.cast or not value.scale.all():
        raise UnsupportedGraphError('takes the frame as it is: expected Transpose to NCHW and Cast to float before')
    node.window(3, (2,), PADDING_AROUND)
    mean = -value.shift / value.scale
    if not ((mean >= 0) & (mean <= 255)).all():
        raise UnsupportedGraphError(f'a mean of {mean.tolist()}: expected values from 0 to 255')
    pad = mean - STEM_OFFSET
    weights = (weights * value.scale[:, None, None]).transpose(0, 2, 3, 1)
    bias = bias - (weights * pad).sum((1, 2, 3))
    half = (value.size[0] // 2, value.size[1] // 2)
    layer = Layer('stem', np.zeros(0, np.int64), weights, bias, half, stride=2,
                  pad=(float(pad[0]), float(pad[1]), float(pad[2])))
    return Planes(layers.append(layer)[None], half)


def _depthwise(node: Node, value: Planes, layers: Layers, weights: Floats, bias: Floats) -> Layer:
    stride, _ = node.window(3, (1, 2), PADDING_AROUND)
    size = (-(-value.size[0] // stride), -(-value.size[1] // stride))
    return Layer('depthwise', layers.read(value.channels), weights, bias, size, stride=stride)


def average_pool(node: Node, given: Given, layers: Layers) -> list[Value]:
    """A depthwise convolution of ninths, as long as the zeros of the padding count."""
    value = _planes(given)
    if not node.get('count_include_pad', 0):
        raise UnsupportedGraphError('leaves the padding out of its means: expected count_include_pad 1')
    signed = layers.signed(value.channels)
    layer = _depthwise(node, value, layers, np.full((value.ids.size, 3, 3), 1 / 9), np.zeros(value.ids.size))
    layer.signed = signed
    return [Planes(layers.append(layer)[None], layer.size)]


def max_pool(node: Node, given: Given, layers: Layers) -> list[Value]:
    """That of the stem."""
    value = _planes(given)
    _, pads = node.window(3, (2,), PADDING_AROUND, PADDING_AT_END)
    ids = layers.max_pool(value.channels, 'both' if pads == PADDING_AROUND else 'end')
    return [Planes(ids[None], (value.size[0] // 2, value.size[1] // 2))]


def _planes(given: Given) -> Planes:
    if len(given) != 1 or not isinstance(given[0], Planes):
        raise UnsupportedGraphError('pools something else than planes')
    return _plain(given[0])
