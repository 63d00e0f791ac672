"""Rescale the channels between two layers, so that all of them use the range of one scale.

A positive factor on a channel goes through ReLU and depthwise convolution, and the next layer's weights can
undo it: the network computes the same (Nagel et al., "Data-free quantization through weight equalization and
bias correction", ICCV 2019). Weights have a scale for each output channel, so between a pointwise and a
depthwise layer it costs nothing; between depthwise and pointwise the root shares it between map and weights.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from shufflenet_ros.packer.contents import Contents
from shufflenet_ros.packer.network import Array, Network, Op
from shufflenet_ros.packer.ranges import Peaks

DEAD = 2.0**-12
"""A channel whose peak is at most this part of its map's is taken as one that is always 0."""
MOST_UP = 64.0
"""A channel that hardly ever fires may be an accident of the frames: it isn't blown up further."""
MOST_SHARED = 8.0
TINY = 1e-30


def equalize(network: Network, contents: Contents, peaks: Peaks) -> Network:
    """A float network that computes the same, but for what dead channels could give on other frames."""
    ops = list(network.ops)
    for writer, reader in _pairs(network, contents):
        first, second = ops[writer], ops[reader]
        order = first.table.astype(np.int64) - second.first
        peak = peaks.written[writer]
        if second.kind == 'depthwise':
            factors = np.clip(_alive(peak).max() / _alive(peak), 1, MOST_UP)
        else:
            factors = np.sqrt(_inputs_largest(second)[order] / _alive(peak))
            factors = np.clip(factors / np.exp(np.log(factors).mean()), 1 / MOST_SHARED, MOST_SHARED)
        back = np.empty_like(factors)
        back[order] = 1 / factors
        ops[writer] = _outputs_scaled(first, factors)
        ops[reader] = _inputs_scaled(second, back)
    return replace(network, ops=tuple(
        _tamed(op, _dead(peak)) if op.kind == 'depthwise' else op
        for op, peak in zip(ops, peaks.read, strict=True)))


def _pairs(network: Network, contents: Contents) -> Iterator[tuple[int, int]]:
    """Layers where the second is the only one to read what the first alone wrote."""
    kinds = ('pointwise', 'depthwise')
    for writer, first in enumerate(network.ops):
        number = contents.written[writer]
        readers = [index for index, content in enumerate(contents.read) if content == number]
        if contents.written.count(number) == 1 and number not in contents.held and len(readers) == 1:
            second = network.ops[readers[0]]
            channels = np.arange(second.first, second.first + second.count)
            if first.kind in kinds and second.kind in kinds and not first.residual and (
                    np.array_equal(np.sort(first.table), channels)):
                yield writer, readers[0]


def _dead(peak: Array) -> Array:
    return np.asarray(peak <= DEAD * peak.max())


def _alive(peak: Array) -> Array:
    """The peaks, a dead channel's as the largest, so that its own weights are not blown up."""
    return np.where(_dead(peak), max(float(peak.max()), TINY), peak)


def _inputs_largest(op: Op) -> Array:
    """(count,) the largest weight that each input of a pointwise layer meets; an unused one counts as 1."""
    largest = np.abs(_by_group(op)).max(1).reshape(-1).astype(np.float64)
    return np.where(largest > 0, largest, 1)


def _by_group(op: Op) -> Array:
    return op.weights.reshape(op.groups, -1, op.count // op.groups)


def _outputs_scaled(op: Op, factors: Array) -> Op:
    weights = op.weights * factors.reshape(-1, *[1] * (op.weights.ndim - 1))
    return replace(op, weights=weights.astype(np.float32), bias=(op.bias * factors).astype(np.float32))


def _inputs_scaled(op: Op, factors: Array) -> Op:
    if op.kind == 'depthwise':
        weights = op.weights * factors[:, None, None]
    else:
        weights = (_by_group(op) * factors.reshape(op.groups, 1, -1)).reshape(op.weights.shape)
    return replace(op, weights=weights.astype(np.float32))


def _tamed(op: Op, dead: Array) -> Op:
    """No larger weights for dead inputs than the others have in the middle.

    A channel that training left at 0 has a variance of 0 in the BN behind it, and so weights of some hundred:
    one scale for all channels would have to make room for them.
    """
    largest = np.abs(op.weights).max((1, 2))
    if dead.all() or not dead.any():
        return op
    limit = np.median(largest[~dead])
    factors = np.where(dead & (largest > limit), limit / np.maximum(largest, TINY), 1)
    return _inputs_scaled(op, factors)
