# SPDX-License-Identifier: Apache-2.0
"""Run a network on many frames at once, fast enough for calibration. reference.py is the definition.

Maps are float32 arrays (channels, N, height, width), so that groups and shuffles are rows, and one matrix
product serves all frames. In int8 they hold the steps. Products of bytes are summed in float32, which is
exact up to 2^24, and in float64 if a sum could be larger.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from shufflenet_ros.packer import int8
from shufflenet_ros.packer.network import STEM_OFFSET, Array, Network, Op

EXACT_IN_FLOAT32 = 2**24
CHUNK_VALUES = 2**21
"""How many values the largest map may have in all frames of a chunk, to fit into memory."""
CACHED_VALUES = 2**15
"""How many values several passes go over at once."""


def evaluate(network: Network, frames: Array, visit: Callable[[int, Array], None] = lambda index, y: None
             ) -> tuple[Array, Array]:
    """The outputs for each frame. int8 is computed exactly, fp16 as fp32.

    Args:
        frames: (N, H, W, 3) uint8.
        visit: called with each operation's index and result, (channels, N, height, width).

    Returns:
        logits (N, classes) and embedding (N, channels of the last map), float32.
    """
    largest = max(m.channels * m.height * m.width for m in network.maps)
    size = max(1, CHUNK_VALUES // largest)
    outputs = []
    for start in range(0, len(frames), size):
        chunk = frames[start:start + size]
        maps = new_maps(network, len(chunk))
        for index, op in enumerate(network.ops[:-1]):
            visit(index, run_op(network, op, maps, chunk))
        outputs.append(_head(network, maps))
    logits, embeddings = zip(*outputs, strict=True)
    return np.concatenate(logits), np.concatenate(embeddings)


def new_maps(network: Network, frames: int) -> list[Array]:
    """Memory for every map."""
    return [np.zeros((m.channels, frames, m.height, m.width), np.float32) for m in network.maps]


def run_op(network: Network, op: Op, maps: list[Array], frames: Array) -> Array:
    """Run one operation that is not the head: write its target and return what was written."""
    assert op.target is not None
    y = source_of(op, maps, frames)
    if op.kind != 'copy':
        is_int8 = network.precision == 'int8'
        y = sums(op, y, is_int8)
        held = maps[op.target][op.table] if op.residual else None
        y = requantized(op, y, held) if is_int8 else _activated(op, y, held)
        if op.pool:
            y = _max_pool(y, op.pool == 'both')
    maps[op.target][op.table if len(op.table) else slice(None)] = y
    return y


def source_of(op: Op, maps: list[Array], frames: Array) -> Array:
    """The channels that an operation reads."""
    if op.source is None:
        return frames.transpose(3, 0, 1, 2).astype(np.float32) - STEM_OFFSET
    return maps[op.source][op.first:op.first + op.count]


def sums(op: Op, x: Array, exact: bool = False) -> Array:
    """Sums of the products of weights and values, without the bias.

    Args:
        x: (in, N, H, W) float32.
        exact: x and the weights are integers, and the sums have to be exact.
    """
    largest = np.abs(op.weights.astype(np.int64)).reshape(len(op.weights), -1).sum(1).max() if exact else 0
    weights = op.weights.astype(np.float32 if 128 * largest < EXACT_IN_FLOAT32 else np.float64)
    return {'stem': _stem, 'pointwise': _pointwise, 'depthwise': _depthwise}[op.kind](op, weights, x)


def _stem(op: Op, weights: Array, x: Array) -> Array:
    padded = np.stack([np.pad(plane, ((0, 0), (1, 1), (1, 1)), constant_values=value)
                       for plane, value in zip(x, op.pad, strict=True)])
    windows = np.stack(list(_windows(padded, op.stride, *_strided_size(x, op.stride))))
    y = weights.reshape(-1, 27) @ windows.reshape(27, -1)  # [row][column][color], as the weights
    return np.asarray(y.reshape(-1, *windows.shape[2:]))


def _pointwise(op: Op, weights: Array, x: Array) -> Array:
    grouped = x.reshape(op.groups, op.count // op.groups, -1)
    y = weights.reshape(op.groups, -1, weights.shape[1]) @ grouped
    return np.asarray(y.reshape(-1, *x.shape[1:]))


def _depthwise(op: Op, weights: Array, x: Array) -> Array:
    outside = -128 if op.unsigned else 0
    size = _strided_size(x, op.stride)
    y = np.zeros((*x.shape[:2], *size), weights.dtype)
    for channels in _cached_blocks(x):
        padded = np.pad(x[channels], ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=outside)
        taps = weights[channels].reshape(-1, 9).T[:, :, None, None, None]
        for weight, window in zip(taps, _windows(padded, op.stride, *size), strict=True):
            y[channels] += weight * window
    return y


def _max_pool(y: Array, both: bool) -> Array:
    """3x3 and stride 2; outside is -128, no more than any step or ReLU output."""
    before = 1 if both else 0
    padded = np.pad(y, ((0, 0), (0, 0), (before, 2), (before, 2)), constant_values=-128)
    return np.asarray(np.maximum.reduce(list(_windows(padded, 2, *_strided_size(y, 2)))))


def _strided_size(x: Array, stride: int) -> tuple[int, int]:
    return -(-x.shape[-2] // stride), -(-x.shape[-1] // stride)


def _windows(padded: Array, stride: int, height: int, width: int) -> Iterator[Array]:
    """The nine shifted views (..., height, width) of padded planes, row by row."""
    for row, column in np.ndindex(3, 3):
        yield padded[..., row:row + stride * height:stride, column:column + stride * width:stride]


def _cached_blocks(x: Array) -> Iterator[slice]:
    """Ranges of channels that stay in the cache while several passes go over them."""
    step = max(1, CACHED_VALUES // x[0].size)
    return (slice(first, first + step) for first in range(0, len(x), step))


def _activated(op: Op, y: Array, held: Array | None) -> Array:
    y += op.bias[:, None, None, None]
    if held is not None:
        y += held
    return np.maximum(y, 0, out=y) if op.relu else y


def requantized(op: Op, y: Array, held: Array | None) -> Array:
    """Steps of the target, from sums without the bias and what the target held."""
    assert op.multiplier is not None
    for channels in _cached_blocks(y):
        part = replace(op, multiplier=op.multiplier[channels])
        total = y[channels].astype(np.int64) + op.bias[channels].astype(np.int64)[:, None, None, None]
        y[channels] = int8.requantize(total, part, None if held is None else held[channels])
    return y.astype(np.float32, copy=False)


def _head(network: Network, maps: list[Array]) -> tuple[Array, Array]:
    """Logits (N, classes) and embedding (N, channels) float32 of the last map."""
    op = network.ops[-1]
    assert op.source is not None
    x = maps[op.source]
    if network.precision != 'int8':
        pooled = x.mean((2, 3)).T
        logits = pooled @ op.weights.astype(np.float32).T + op.bias
        return network.logit_scale * logits, network.embedding_scale * pooled
    assert op.multiplier is not None
    total = (x + 128).sum((2, 3), dtype=np.float64).astype(np.float32).T
    weights = op.weights.astype(np.float64)
    products = int8.pooled(total, op.scale).astype(np.float64) @ weights.T + 128 * weights.sum(1)
    logits = products.astype(np.float32) * op.multiplier + op.bias
    return logits, total / np.float32(x[0, 0].size) * np.float32(network.embedding_scale)
