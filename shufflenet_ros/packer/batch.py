"""Run a network on many frames at once, in NumPy: what calibration and accuracy need.

Maps are float32 arrays (channels, N, height, width), so that groups and shuffles are rows, and one matrix
product serves all frames. In int8 they hold the steps: products of bytes are summed without rounding in
float32 up to 2^24, and in float64 where a sum could go beyond.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from shufflenet_ros.packer import int8
from shufflenet_ros.packer.network import STEM_OFFSET, Array, Network, Op

EXACT_IN_FLOAT32 = 2**24
CHUNK_VALUES = 2**21
"""How many values the largest map may have in all frames of a chunk."""
CACHED_VALUES = 2**15
"""How many values several passes go over at once."""


def chunks(network: Network, frames: Array) -> Iterator[Array]:
    """The frames (N, H, W, 3) in pieces whose maps fit into memory."""
    largest = max(m.channels * m.height * m.width for m in network.maps)
    size = max(1, CHUNK_VALUES // largest)
    for start in range(0, len(frames), size):
        yield frames[start:start + size]


def evaluate(network: Network, frames: Array, visit: Callable[[int, Array], None] = lambda index, y: None
             ) -> tuple[Array, Array]:
    """The outputs for each frame. int8 is computed exactly; fp16 as fp32.

    Args:
        frames: (N, H, W, 3) uint8.
        visit: told the index of each operation and what it gave, (channels, N, height, width).

    Returns:
        logits (N, classes) and embedding (N, channels of the last map), float32.
    """
    outputs = []
    for part in chunks(network, frames):
        maps = new_maps(network, len(part))
        for index, op in enumerate(network.ops[:-1]):
            visit(index, run_op(network, op, maps, part))
        outputs.append(head(network, maps))
    logits, embeddings = zip(*outputs, strict=True)
    return np.concatenate(logits), np.concatenate(embeddings)


def new_maps(network: Network, frames: int) -> list[Array]:
    """Memory for every map."""
    return [np.zeros((m.channels, frames, m.height, m.width), np.float32) for m in network.maps]


def run_op(network: Network, op: Op, maps: list[Array], frames: Array) -> Array:
    """Run one operation, not the head: write its target and return what was written."""
    if op.kind == 'copy':
        y = source_of(op, maps, frames)
    else:
        y = sums(op, source_of(op, maps, frames), network.precision == 'int8')
        held = maps[op.target][op.table] if op.residual and op.target is not None else None
        y = _steps(op, y, held) if network.precision == 'int8' else _values(op, y, held)
        if op.pool:
            y = _max_pool(y, op.pool == 'both')
    assert op.target is not None
    maps[op.target][op.table if len(op.table) else slice(None)] = y
    return y


def source_of(op: Op, maps: list[Array], frames: Array) -> Array:
    """The channels that an operation reads."""
    if op.source is None:
        return frames.transpose(3, 0, 1, 2).astype(np.float32) - STEM_OFFSET
    return maps[op.source][op.first:op.first + op.count]


def sums(op: Op, x: Array, exact: bool = False) -> Array:
    """Products of weights and values, summed, without the bias.

    Args:
        x: (in, N, H, W) float32.
        exact: x and the weights are integers, and so shall the sums be.
    """
    single = not exact or 128 * _most_weight(op) < EXACT_IN_FLOAT32
    weights = op.weights.astype(np.float32 if single else np.float64)
    return {'stem': _stem, 'pointwise': _pointwise, 'depthwise': _depthwise}[op.kind](op, weights, x)


def _most_weight(op: Op) -> int:
    """The largest sum of an output's integer weights, without signs."""
    return int(np.abs(op.weights.astype(np.int64)).reshape(len(op.weights), -1).sum(1).max())


def _stem(op: Op, weights: Array, x: Array) -> Array:
    padded = np.stack([np.pad(plane, ((0, 0), (1, 1), (1, 1)), constant_values=value)
                       for plane, value in zip(x, op.pad, strict=True)])
    windows = np.stack(list(_windows(padded, op.stride)))
    flat = windows.reshape(27, -1)  # [row][column][channel], as the weights
    y = weights.reshape(-1, 27) @ flat
    return np.asarray(y.reshape(-1, *windows.shape[2:]))


def _pointwise(op: Op, weights: Array, x: Array) -> Array:
    grouped = x.reshape(op.groups, op.count // op.groups, -1)
    y = weights.reshape(op.groups, -1, weights.shape[1]) @ grouped
    return np.asarray(y.reshape(-1, *x.shape[1:]))


def _depthwise(op: Op, weights: Array, x: Array) -> Array:
    outside = -128 if op.unsigned else 0
    rows, columns = -(-x.shape[2] // op.stride), -(-x.shape[3] // op.stride)
    y = np.zeros((len(x), x.shape[1], rows, columns), weights.dtype)
    for channels in _blocks(x):
        padded = np.pad(x[channels], ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=outside)
        taps = weights[channels].reshape(-1, 9).T[:, :, None, None, None]
        for weight, window in zip(taps, _windows(padded, op.stride), strict=True):
            y[channels] += weight * window
    return y


def _blocks(x: Array) -> Iterator[slice]:
    """Ranges of channels that stay in the cache while several passes go over them."""
    step = max(1, CACHED_VALUES // x[0].size)
    return (slice(first, first + step) for first in range(0, len(x), step))


def _windows(padded: Array, stride: int) -> Iterator[Array]:
    """The nine shifted views of planes that were padded by 1, row by row."""
    height, width = padded.shape[-2] - 2, padded.shape[-1] - 2
    for row in range(3):
        for column in range(3):
            yield padded[..., row:row + height:stride, column:column + width:stride]


def _max_pool(y: Array, both: bool) -> Array:
    """3x3, stride 2; outside is the least value of ReLU outputs and of steps alike, or less."""
    height, width = y.shape[-2:]
    before = 1 if both else 0
    padded = np.pad(y, ((0, 0), (0, 0), (before, 2), (before, 2)), constant_values=-128)
    rows, columns = -(-height // 2), -(-width // 2)
    return np.asarray(np.maximum.reduce([
        padded[..., row:row + 2 * rows:2, column:column + 2 * columns:2]
        for row in range(3) for column in range(3)]))


def _values(op: Op, y: Array, held: Array | None) -> Array:
    y += op.bias[:, None, None, None]
    if held is not None:
        y += held
    return np.maximum(y, 0, out=y) if op.relu else y


def _steps(op: Op, y: Array, held: Array | None) -> Array:
    assert op.multiplier is not None
    for channels in _blocks(y):
        part = replace(op, multiplier=op.multiplier[channels])
        whole = y[channels].astype(np.int64) + op.bias[channels].astype(np.int64)[:, None, None, None]
        y[channels] = int8.requantize(whole, part, None if held is None else held[channels])
    return y.astype(np.float32, copy=False)


def head(network: Network, maps: list[Array]) -> tuple[Array, Array]:
    """Logits (N, classes) and embedding (N, channels) float32 of what the last map holds."""
    op = network.ops[-1]
    assert op.source is not None
    x = maps[op.source]
    area = x.shape[2] * x.shape[3]
    if network.precision != 'int8':
        pooled = x.mean((2, 3)).T
        logits = pooled @ op.weights.astype(np.float32).T + op.bias
        return network.logit_scale * logits, network.embedding_scale * pooled
    assert op.multiplier is not None
    total = (x + 128).sum((2, 3), dtype=np.float64).astype(np.float32).T
    weights = op.weights.astype(np.float64)
    products = int8.pooled(total, op.scale).astype(np.float64) @ weights.T + 128 * weights.sum(1)
    logits = products.astype(np.float32) * op.multiplier + op.bias
    return logits, total / np.float32(area) * np.float32(network.embedding_scale)
