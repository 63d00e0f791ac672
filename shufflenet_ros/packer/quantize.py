# SPDX-License-Identifier: Apache-2.0
"""Turn a float network into an int8 one: a scale for each scale group, then integer weights and biases.

reference.py has the arithmetic. Values after a ReLU are stored as real = (q + 128) * step, so that the
saturation at -128 is the ReLU. Outputs of depthwise convolutions, which have both signs, are real = q * step.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from shufflenet_ros.packer.equalize import equalize
from shufflenet_ros.packer.network import Array, Network, Op, PackError
from shufflenet_ros.packer.ranges import (
    FRAME,
    Histogram,
    ScaleGroups,
    find_peaks,
    find_ranges,
    find_scale_groups,
)
from shufflenet_ros.packer.reference import new_maps, run_op, source_of, sums

ONE = 2**19
"""A multiplier m turns a sum into m / ONE times as many steps of the output."""
MIN_MULTIPLIER, MAX_MULTIPLIER = 256, 2**15 - 1
MIN_STEP = 1e-30
"""The step where all values are 0 on every frame."""
MAX_BIAS = 2**29
"""Much smaller biases saturate already. With this limit no sum of products exceeds 2^31."""
CORRECTION_FRAMES = 64
CORRECTION_VALUES = 2**28
_PASSES = 32


@dataclass(frozen=True)
class Scale:
    """How values are stored: real = (q + zero) * step. zero is 128, or 0 for values of both signs."""

    step: float
    zero: int


def quantize(network: Network, frames: Array) -> Network:
    """The int8 network of a float one; the same frames give the same bytes.

    Equalizes channels, clips maps so that the squared error on the frames is least, then corrects each bias
    by the mean error of its channel.

    Args:
        network: of precision fp32.
        frames: (N, H, W, 3) uint8 for calibration.

    Raises:
        PackError: no frames or frames of another size, values that are not finite, or weights that do not
            fit int8.
    """
    groups = find_scale_groups(network)
    network = equalize(network, groups, find_peaks(network, frames))
    histograms, largest_mean = find_ranges(network, groups, frames)
    scales = _scales(network, groups, histograms)
    last = scales[groups.read[-1]]
    if not last.zero:
        raise PackError('the map before the linear layer has negative values: expected the output of a ReLU, '
                        'because the int8 head averages nothing else; use fp32')
    ops = [_quantized(op, *_scales_of(groups, scales, index)) for index, op in enumerate(network.ops[:-1])]
    ops.append(_quantized_head(network, last.step, largest_mean))
    quantized = replace(network, precision='int8', ops=tuple(ops),
                        embedding_scale=float(np.float32(last.step)))
    return _corrected(network, quantized, groups, scales, frames)


def _scales_of(groups: ScaleGroups, scales: Mapping[int, Scale], index: int) -> tuple[Scale, Scale, Scale]:
    """The scales of an operation's source, of its target, and of what its residual adds."""
    return scales[groups.read[index]], scales[groups.written[index]], scales[groups.residual[index]]


def _scales(network: Network, groups: ScaleGroups, histograms: Mapping[int, Histogram]) -> dict[int, Scale]:
    """Scales from histograms, raised if multipliers or residuals need it."""
    rectified = {group for group, op in zip(groups.written, network.ops, strict=True) if op.relu}
    scales = {FRAME: Scale(1.0, 0)}
    for group, histogram in histograms.items():
        levels, zero = (255, 128) if group in rectified else (127, 0)
        scales[group] = Scale(max(histogram.best_clipping_limit(levels) / levels, MIN_STEP), zero)
    for _ in range(_PASSES):
        raised = False
        for index, op in enumerate(network.ops[:-1]):
            source, target, residual = _scales_of(groups, scales, index)
            least = _min_step(op, source, residual)
            if least > target.step:
                scales[groups.written[index]] = replace(target, step=least)
                raised = True
        if not raised:
            return scales
    raise PackError(f'scales of maps still grow after {_PASSES} passes: expected weights that fit the values '
                    'of their maps; train the network, or use fp32')


def _min_step(op: Op, source: Scale, residual: Scale) -> float:
    """The smallest step with which the multipliers fit, and a residual's multiplier is at most 1."""
    if op.kind == 'copy':
        return 0.0
    least = source.step * float(np.abs(op.weights).max()) / 127 * ONE / (MAX_MULTIPLIER - 1)
    return max(least, residual.step) if op.residual else least


def _quantized(op: Op, source: Scale, target: Scale, residual: Scale) -> Op:
    if op.kind == 'copy':
        return replace(op, weights=op.weights.astype(np.int8), bias=op.bias.astype(np.int32))
    rows = _rows(op)
    unit = target.step / source.step / ONE  # a weight's step if the multiplier is 1
    peak = np.abs(rows).max(1)
    # The largest weight is a whole number of steps, so that 1/9, the weight of a mean, is exact.
    largest = np.clip(np.floor(peak / (unit * MIN_MULTIPLIER)), 1, 127)
    multiplier = np.clip(np.ceil(peak / largest / unit * (1 - 1e-12)), MIN_MULTIPLIER, MAX_MULTIPLIER)
    weights = np.rint(rows / (unit * multiplier)[:, None])
    gain = min(MAX_MULTIPLIER, round(residual.step / target.step * 2**15)) if op.residual else 0
    zero = target.zero - target.zero * gain / 2**15
    bias = (op.bias / target.step - zero) / (multiplier / ONE) + source.zero * weights.sum(1)
    return replace(
        op, weights=weights.astype(np.int8).reshape(op.weights.shape), bias=_integer_bias(bias),
        multiplier=multiplier.astype(np.int16), residual_multiplier=gain, relu=False,
        unsigned=op.kind == 'depthwise' and source.zero > 0, pad=tuple(np.rint(op.pad).tolist()))


def _rows(op: Op) -> Array:
    """(out, weights of an output) float64."""
    return op.weights.reshape(len(op.weights), -1).astype(np.float64)


def _integer_bias(bias: Array) -> Array:
    return np.clip(np.rint(bias), -MAX_BIAS, MAX_BIAS).astype(np.int32)


def _quantized_head(network: Network, source_step: float, largest_mean: float) -> Op:
    op = network.ops[-1]
    source = network.maps[op.source or 0]
    step = max(largest_mean / 255, MIN_STEP)
    rows = _rows(op)
    weight_step = np.maximum(np.abs(rows).max(1) / 127, MIN_STEP)
    return replace(
        op, weights=np.rint(rows / weight_step[:, None]).astype(np.int8),
        multiplier=(step * weight_step).astype(np.float32),
        scale=float(np.float32(source_step / (source.height * source.width) / step)))


def _corrected(network: Network, quantized: Network, groups: ScaleGroups, scales: Mapping[int, Scale],
               frames: Array) -> Network:
    """Correct biases by the mean error of their channels, one operation after the other.

    Both networks run side by side, so that each correction takes the earlier ones into account.
    """
    values = sum(m.channels * m.height * m.width for m in network.maps)
    frames = frames[:min(CORRECTION_FRAMES, max(1, CORRECTION_VALUES // values))]
    maps, quantized_maps = new_maps(network, len(frames)), new_maps(quantized, len(frames))
    ops = list(quantized.ops)
    for index, op in enumerate(network.ops[:-1]):
        if op.kind != 'copy':
            target = scales[groups.written[index]]
            total, residual = _means(op, maps, frames)
            wanted = (total + residual) / target.step - target.zero
            ops[index] = _bias_corrected(ops[index], wanted, quantized_maps, frames)
        run_op(network, op, maps, frames)
        run_op(quantized, ops[index], quantized_maps, frames)
    return replace(quantized, ops=tuple(ops))


def _means(op: Op, maps: list[Array], frames: Array) -> tuple[Array, Array]:
    """Means of an operation's sums with the bias, and of what its residual adds; (out,) float64."""
    total = sums(op, source_of(op, maps, frames)).mean((1, 2, 3), dtype=np.float64) + op.bias
    if not op.residual or op.target is None:
        return total, np.zeros(len(total))
    return total, np.asarray(maps[op.target][op.table].mean((1, 2, 3), dtype=np.float64))


def _bias_corrected(op: Op, wanted: Array, maps: list[Array], frames: Array) -> Op:
    """The quantized operation, with biases for which its mean step before saturation is the wanted one."""
    assert op.multiplier is not None
    rate = op.multiplier / ONE
    total, residual = _means(op, maps, frames)
    mean = total * rate + residual * op.residual_multiplier / 2**15
    return replace(op, bias=_integer_bias(op.bias + (wanted - mean) / rate))
