# SPDX-License-Identifier: Apache-2.0
"""Convolutions and pools of the graph as layers."""

import numpy as np

from shufflenet_ros.packer.layers import Floats, Layer, Layers, Pixels, Planes, Pooled
from shufflenet_ros.packer.network import STEM_OFFSET, UnsupportedGraphError
from shufflenet_ros.packer.onnx_node import NO_PADDING, PADDING_AROUND, PADDING_AT_END, Node


def convolution(node: Node, layers: Layers, value: Pixels | Planes | Pooled) -> Planes:
    """The stem if it reads pixels, else a pointwise or depthwise convolution."""
    if isinstance(value, Pooled):
        raise UnsupportedGraphError('a convolution of means, as in squeeze-and-excitation')
    weights = node.weights(1)
    if weights.ndim != 4:
        raise UnsupportedGraphError(f'weights of {list(weights.shape)}: expected a convolution of planes')
    bias = node.bias(2, len(weights))
    if isinstance(value, Pixels):
        return _stem(node, layers, value, weights, bias)
    value.check_plain()
    groups, count = int(node.get('group', 1)), value.ids.size
    if weights.shape[1] * groups != count or len(weights) % groups:
        raise UnsupportedGraphError(
            f'weights of {list(weights.shape)} in {groups} groups do not fit {count} channels')
    if weights.shape[2:] == (1, 1):
        node.window(1, (1,), NO_PADDING)
        layer = Layer('pointwise', layers.read(value.channels), weights[:, :, 0, 0], bias, value.size, groups)
    elif weights.shape[2:] == (3, 3) and groups == count == len(weights):
        layer = _depthwise(node, layers, value, weights[:, 0], bias)
    else:
        raise UnsupportedGraphError(
            f'a {weights.shape[2]}x{weights.shape[3]} convolution of {count} channels in {groups} groups: '
            'expected 1x1, or 3x3 with one channel per group')
    return Planes(layers.append(layer)[None], layer.size)


def average_pool(node: Node, layers: Layers, value: Planes) -> Planes:
    """A depthwise convolution with weights of 1/9. The zeros of the padding must count."""
    value.check_plain()
    if not node.get('count_include_pad', 0):
        raise UnsupportedGraphError('leaves the padding out of the means: expected count_include_pad 1')
    signed, count = layers.signed(value.channels), value.ids.size
    layer = _depthwise(node, layers, value, np.full((count, 3, 3), 1 / 9), np.zeros(count))
    layer.signed = signed
    return Planes(layers.append(layer)[None], layer.size)


def max_pool(node: Node, layers: Layers, value: Planes) -> Planes:
    """The max-pool of the stem."""
    value.check_plain()
    _, pads = node.window(3, (2,), PADDING_AROUND, PADDING_AT_END)
    ids = layers.max_pool(value.channels, 'both' if pads == PADDING_AROUND else 'end')
    return Planes(ids[None], (value.size[0] // 2, value.size[1] // 2))


def _stem(node: Node, layers: Layers, value: Pixels, weights: Floats, bias: Floats) -> Planes:
    """Fold the scale into the weights. The kernels subtract STEM_OFFSET from pixels and pad with the mean."""
    if weights.shape[1:] != (3, 3, 3) or node.get('group', 1) != 1 or layers.all:
        raise UnsupportedGraphError(
            f'weights of {list(weights.shape)}: expected one 3x3 convolution of the three colors')
    if value.axes != 'NCHW' or not value.is_float or not value.scale.all():
        raise UnsupportedGraphError('reads the frame directly: expected Transpose to NCHW and Cast to float')
    node.window(3, (2,), PADDING_AROUND)
    mean = -value.shift / value.scale
    if not ((mean >= 0) & (mean <= 255)).all():
        raise UnsupportedGraphError(f'a mean of {mean.tolist()}: expected values from 0 to 255')
    pad = mean - STEM_OFFSET
    weights = (weights * value.scale[:, None, None]).transpose(0, 2, 3, 1)
    bias = bias - (weights * pad).sum((1, 2, 3))
    half = (value.size[0] // 2, value.size[1] // 2)
    layer = Layer('stem', np.zeros(0, np.int64), weights, bias, half, stride=2, pad=tuple(pad.tolist()))
    return Planes(layers.append(layer)[None], half)


def _depthwise(node: Node, layers: Layers, value: Planes, weights: Floats, bias: Floats) -> Layer:
    stride, _ = node.window(3, (1, 2), PADDING_AROUND)
    size = (-(-value.size[0] // stride), -(-value.size[1] // stride))
    return Layer('depthwise', layers.read(value.channels), weights, bias, size, stride=stride)
