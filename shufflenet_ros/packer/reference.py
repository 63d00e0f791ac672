# SPDX-License-Identifier: Apache-2.0
"""What a network computes, frame by frame. It defines int8; fp32 and fp16 kernels approach it.

Slow and plain; batch.py computes the same faster, and int8.py has the arithmetic of int8. Products and sums
are float64 in every precision. Floating point uses the weights as the blob stores them. The integers of int8
stay far below 2^53, where float64 is exact.
"""

from collections.abc import Iterator

import numpy as np

from shufflenet_ros.packer import int8
from shufflenet_ros.packer.network import STEM_OFFSET, Array, Network, Op

_POOL_STARTS = {'both': -1, 'end': 0}


def run(network: Network, frame: Array) -> tuple[Array, Array]:
    """One inference.

    Args:
        frame: (H, W, 3) uint8.

    Returns:
        Logits (classes,) and embedding (embedding,), float32.
    """
    *_, (_, last) = trace(network, frame)
    logits, embedding = last
    return logits, embedding


def trace(network: Network, frame: Array) -> Iterator[tuple[Op, tuple[Array, ...]]]:
    """Each operation and its target afterwards, a map (channels, H, W); at last logits and embedding."""
    dtype = np.int8 if network.precision == 'int8' else np.float64
    maps = [np.zeros((size.channels, size.height, size.width), dtype) for size in network.maps]
    for op in network.ops:
        if op.kind == 'head':
            yield op, _head(network, op, maps[op.source or 0])
            return
        target = maps[op.target or 0]
        source = frame if op.source is None else maps[op.source][op.first:op.first + op.count]
        table = np.arange(len(target)) if op.kind == 'stem' else op.table.astype(np.int64)
        target[table] = _apply(op, source, target[table], network)
        yield op, (target.copy(),)


def _apply(op: Op, source: Array, held: Array, network: Network) -> Array:
    """What an operation writes; held is what the target's channels hold before."""
    if op.kind == 'copy':
        return source
    is_int8 = network.precision == 'int8'
    outside = int8.padding(op) if is_int8 else op.pad if op.kind == 'stem' else (0.0,)
    sums = _products(op, source, _weights(op, network), outside) + op.bias.astype(np.float64)[:, None, None]
    if is_int8:
        values = int8.requantize(sums.astype(np.int64), op, held if op.residual else None)
    else:
        values = sums + held if op.residual else sums
        values = np.maximum(values, 0) if op.relu else values
    return _max_pool(values, op.pool, held.shape[1:]) if op.pool else values


def _weights(op: Op, network: Network) -> Array:
    stored = op.weights.astype(np.float16) if network.precision == 'fp16' else op.weights
    return stored.astype(np.float64)


def _products(op: Op, source: Array, weights: Array, outside: tuple[float, ...]) -> Array:
    """Sums of an operation's products, (out, H, W). outside: the padding, of each input or of all."""
    if op.kind == 'pointwise':
        x = source.reshape(op.groups, op.count // op.groups, -1).astype(np.float64)
        return np.asarray(weights.reshape(op.groups, -1, x.shape[1]) @ x).reshape(-1, *source.shape[1:])
    stem = op.kind == 'stem'
    x = source.transpose(2, 0, 1).astype(np.float64) - STEM_OFFSET if stem else source.astype(np.float64)
    stride = 2 if stem else op.stride
    padded = np.empty((len(x), x.shape[1] + 2, x.shape[2] + 2))
    padded[:] = np.array(outside)[:, None, None]
    padded[:, 1:-1, 1:-1] = x
    height, width = -(-x.shape[1] // stride), -(-x.shape[2] // stride)
    sums = np.zeros((len(weights), height, width))
    for row, column in np.ndindex(3, 3):
        taps = _strided(padded, row, column, stride, height, width)
        weight = weights[:, row, column]
        sums += np.einsum('oc,chw->ohw', weight, taps) if stem else weight[:, None, None] * taps
    return sums


def _strided(padded: Array, row: int, column: int, stride: int, height: int, width: int) -> Array:
    """height x width values of each plane, `stride` apart, from (row, column) on."""
    return padded[:, row::stride, column::stride][:, :height, :width]


def _max_pool(values: Array, pool: str, size: tuple[int, ...]) -> Array:
    """3x3 and stride 2, to (channels, *size); values outside never win."""
    lowest = np.iinfo(np.int8).min if values.dtype == np.int8 else -np.inf
    start = 1 + _POOL_STARTS[pool]
    padded = np.pad(values, ((0, 0), (1, 2), (1, 2)), constant_values=lowest)
    return np.asarray(np.max([_strided(padded, start + row, start + column, 2, size[0], size[1])
                              for row, column in np.ndindex(3, 3)], axis=0))


def _head(network: Network, op: Op, values: Array) -> tuple[Array, Array]:
    if network.precision == 'int8':
        return int8.head(values, op, network.embedding_scale)
    mean = values.mean((1, 2))
    logits = (_weights(op, network) @ mean + op.bias) * network.logit_scale
    return logits.astype(np.float32), (mean * network.embedding_scale).astype(np.float32)
