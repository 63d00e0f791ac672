# SPDX-License-Identifier: Apache-2.0
"""Rescale the channels between two layers, so that all of them use the whole range of one scale.

A positive factor on a channel passes through ReLU and depthwise convolution, and the next layer's weights can
undo it: the network computes the same (Nagel et al., "Data-free quantization through weight equalization and
bias correction", ICCV 2019). Weights have a scale for each output channel, so from a pointwise to a depthwise
layer the factor costs nothing. From depthwise to pointwise, its square root divides the cost between map and
weights.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from shufflenet_ros.packer.network import Array, Network, Op
from shufflenet_ros.packer.ranges import Peaks, ScaleGroups

DEAD = 2.0**-12
"""A channel counts as always 0 if its peak is at most this part of the largest channel's."""
MAX_FACTOR = 64.0
"""Limit for channels that happen to be weak on the calibration frames."""
MAX_SHARED = 8.0
TINY = 1e-30


def equalize(network: Network, groups: ScaleGroups, peaks: Peaks) -> Network:
    """A float network that computes the same, except for what dead channels could give on other frames."""
    ops = list(network.ops)
    for writer, reader in _pairs(network, groups):
        first, second = ops[writer], ops[reader]
        order = first.table.astype(np.int64) - second.first
        peak = peaks.written[writer]
        # A dead channel counts as the largest, so that its own weights are not magnified.
        alive = np.where(_dead_channels(peak), max(float(peak.max()), TINY), peak)
        if second.kind == 'depthwise':
            factors = np.clip(alive.max() / alive, 1, MAX_FACTOR)
        else:
            factors = np.sqrt(_largest_weights(second)[order] / alive)
            factors = np.clip(factors / np.exp(np.log(factors).mean()), 1 / MAX_SHARED, MAX_SHARED)
        back = np.empty_like(factors)
        back[order] = 1 / factors
        weights = first.weights * factors.reshape(-1, *[1] * (first.weights.ndim - 1))
        ops[writer] = replace(first, weights=weights.astype(np.float32),
                              bias=(first.bias * factors).astype(np.float32))
        ops[reader] = _scale_inputs(second, back)
    return replace(network, ops=tuple(
        _limit_dead_channels(op, _dead_channels(peak)) if op.kind == 'depthwise' else op
        for op, peak in zip(ops, peaks.read, strict=True)))


def _pairs(network: Network, groups: ScaleGroups) -> Iterator[tuple[int, int]]:
    """Pairs of layers: only the first writes the channels, and only the second reads them."""
    kinds = ('pointwise', 'depthwise')
    for writer, first in enumerate(network.ops):
        group = groups.written[writer]
        readers = [index for index, other in enumerate(groups.read) if other == group]
        if groups.written.count(group) == 1 and group not in groups.residual and len(readers) == 1:
            second = network.ops[readers[0]]
            channels = np.arange(second.first, second.first + second.count)
            if first.kind in kinds and second.kind in kinds and not first.residual and (
                    np.array_equal(np.sort(first.table), channels)):
                yield writer, readers[0]


def _dead_channels(peak: Array) -> Array:
    return np.asarray(peak <= DEAD * peak.max())


def _largest_weights(op: Op) -> Array:
    """(count,) the largest weight of each input of a pointwise layer; 1 for an unused input."""
    largest = np.abs(_by_group(op)).max(1).reshape(-1).astype(np.float64)
    return np.where(largest > 0, largest, 1)


def _by_group(op: Op) -> Array:
    return op.weights.reshape(op.groups, -1, op.count // op.groups)


def _scale_inputs(op: Op, factors: Array) -> Op:
    if op.kind == 'depthwise':
        weights = op.weights * factors[:, None, None]
    else:
        weights = (_by_group(op) * factors.reshape(op.groups, 1, -1)).reshape(op.weights.shape)
    return replace(op, weights=weights.astype(np.float32))


def _limit_dead_channels(op: Op, dead: Array) -> Op:
    """Limit the weights of dead inputs to the median of the others.

    A channel that training left at 0 has a variance of 0 in its batch normalization, and so weights of
    several hundred. One scale for all channels would have to cover them.
    """
    largest = np.abs(op.weights).max((1, 2))
    if dead.all() or not dead.any():
        return op
    limit = np.median(largest[~dead])
    return _scale_inputs(op, np.where(dead & (largest > limit), limit / np.maximum(largest, TINY), 1))
