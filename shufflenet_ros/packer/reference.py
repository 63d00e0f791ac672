# SPDX-License-Identifier: Apache-2.0
"""What a network computes, in NumPy. This defines int8 to the bit; fp32 and fp16 kernels round differently.

Maps are arrays (channels, N, height, width): groups are ranges of rows, and one matrix product serves all
frames. int8 maps hold steps q from -128 to 127. After a ReLU, a step's value is (q + 128) * scale, elsewhere
q * scale. The scales are not stored: multipliers and biases contain them. Kernels sum int8 products in int32.
quantize keeps biases below 2^29, so that no sum overflows, and weights from -127 to 127, so that the sum of
two products fits 16 bits. Here these sums are float64, which is exact.
"""

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from shufflenet_ros.packer.network import STEM_OFFSET, Array, Network, Op

CHUNK_VALUES = 2**21
"""Limit of the size of the largest map for all frames of a chunk, so that it fits into memory."""
CACHED_VALUES = 2**15
"""How many values to process at a time in several passes."""


def run(network: Network, frame: Array) -> tuple[Array, Array]:
    """Logits (classes,) and embedding (channels,) of one frame (H, W, 3) uint8, computed in float64."""
    logits, embeddings = evaluate(network, frame[None], dtype=np.float64)
    return logits[0], embeddings[0]


def evaluate(network: Network, frames: Array, visit: Callable[[int, Array], None] = lambda index, y: None,
             dtype: npt.DTypeLike = np.float32) -> tuple[Array, Array]:
    """The outputs for each frame.

    Args:
        frames: (N, H, W, 3) uint8.
        visit: called with each operation's index and result, (channels, N, height, width).
        dtype: of the maps. It does not matter for int8.

    Returns:
        Logits (N, classes) and embedding (N, channels of the last map), float32.
    """
    largest = max(m.channels * m.height * m.width for m in network.maps)
    size = max(1, CHUNK_VALUES // largest)
    outputs = []
    for start in range(0, len(frames), size):
        chunk = frames[start:start + size]
        maps = new_maps(network, len(chunk), dtype)
        for index, op in enumerate(network.ops[:-1]):
            visit(index, run_op(network, op, maps, chunk))
        outputs.append(_head(network, maps))
    logits, embeddings = (np.concatenate(values).astype(np.float32) for values in zip(*outputs, strict=True))
    return logits, embeddings


def new_maps(network: Network, frames: int, dtype: npt.DTypeLike = np.float32) -> list[Array]:
    """Memory for every map."""
    return [np.zeros((m.channels, frames, m.height, m.width), dtype) for m in network.maps]


def run_op(network: Network, op: Op, maps: list[Array], frames: Array) -> Array:
    """Run one operation that is not the head: write to its target and return what was written."""
    assert op.target is not None
    y = source_of(op, maps, frames)
    if op.kind != 'copy':
        previous = maps[op.target][op.table] if op.residual else None
        y = (requantize if network.precision == 'int8' else _activated)(op, sums(op, y), previous)
        if op.pool:
            y = _max_pool(y, op.pool == 'both')
    maps[op.target][op.target_channels] = y
    return y


def source_of(op: Op, maps: list[Array], frames: Array) -> Array:
    """The channels that an operation reads."""
    if op.source is None:
        return frames.transpose(3, 0, 1, 2).astype(maps[0].dtype) - STEM_OFFSET
    return maps[op.source][op.first:op.first + op.count]


def sums(op: Op, x: Array) -> Array:
    """Sums of weights times values (in, N, H, W), without the bias; exact for int8."""
    weights = op.weights.astype(np.float64 if op.weights.dtype == np.int8 else x.dtype)
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
    """3x3 and stride 2; the padding is -128, which exceeds no step and no ReLU output."""
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
    """Ranges of channels that stay in the cache during several passes."""
    step = max(1, CACHED_VALUES // x[0].size)
    return (slice(first, first + step) for first in range(0, len(x), step))


def _activated(op: Op, y: Array, previous: Array | None) -> Array:
    y += op.bias[:, None, None, None]
    if previous is not None:
        y += previous
    return np.maximum(y, 0, out=y) if op.relu else y


def requantize(op: Op, totals: Array, previous: Array | None = None) -> Array:
    """Steps of the target, float32, from sums of products (channels, ...).

    Multipliers have 15 bits and each product is doubled, as NEON's sqrdmulh and x86's pmulhrsw do.

    Args:
        previous: the steps in the target so far, if the operation adds to them.
    """
    assert op.multiplier is not None
    shape = (-1, *[1] * (totals.ndim - 1))
    steps = np.empty(totals.shape, np.float32)
    for channels in _cached_blocks(totals):
        bias, factor = (values[channels].astype(np.int64).reshape(shape)
                        for values in (op.bias, op.multiplier))
        reduced = _clip16((totals[channels].astype(np.int64) + bias + 8) >> 4)
        scaled = _clip16(_doubled_high(reduced, factor))
        if previous is not None:
            scaled = _clip16(scaled + _doubled_high(previous[channels], op.residual_multiplier))
        steps[channels] = np.clip(scaled, -128, 127)
    return steps


def _doubled_high(steps: Array, factor: Array | int) -> Array:
    """steps * factor / 2^15, rounded to the nearest integer."""
    return np.asarray((2 * steps.astype(np.int64) * factor + (1 << 15)) >> 16)


def _clip16(values: Array) -> Array:
    return np.clip(values, -(1 << 15), (1 << 15) - 1)


def _head(network: Network, maps: list[Array]) -> tuple[Array, Array]:
    """Logits (N, classes) and embedding (N, channels) of the last map."""
    op = network.ops[-1]
    assert op.source is not None
    x = maps[op.source]
    if network.precision != 'int8':
        pooled = x.mean((2, 3)).T
        logits = pooled @ op.weights.astype(x.dtype).T + op.bias
        return network.logit_scale * logits, network.embedding_scale * pooled
    assert op.multiplier is not None
    # Each step in float32 rounds once, as in the kernels.
    totals = (x + 128).sum((2, 3), dtype=np.float64).astype(np.float32).T
    pooled = np.clip(np.floor(totals * np.float32(op.scale) + np.float32(0.5)), 0, 255)
    logits = (pooled.astype(np.float64) @ op.weights.T.astype(np.float64)).astype(np.float32)
    embedding = totals / np.float32(x[0, 0].size) * np.float32(network.embedding_scale)
    return logits * op.multiplier + op.bias, embedding
