# SPDX-License-Identifier: Apache-2.0
"""Turn a float network into a half-precision one, scaled by a power of two so that all values fit.

A network of convolutions and ReLUs is homogeneous: if the first weights and all biases are multiplied by
2^-k, every value becomes 2^-k of what it was. The outputs are multiplied by 2^k.
"""

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from shufflenet_ros.packer.network import Array, Network, Op, PackError
from shufflenet_ros.packer.ranges import Peaks, find_peaks

MAX_VALUE = 2.0**13
"""Limit of any value on the calibration frames: other frames may give eight times as much."""
MAX_SUM = 2.0**15
"""Limit of the sum of an output's magnitudes if each input has its peak; no partial sum exceeds it."""
MIN_PEAK = 2.0**-10
"""Smallest peak of an operation: the steps of half precision near 0, 2^-24, are at most 2^-14 of it."""
MAX_LOSS = 2.0**-10
"""Limit of the relative rounding error of a layer's weights (root mean square); 2^-12.5 is usual."""


def to_half(network: Network, frames: Array) -> Network:
    """The fp16 network of a float one.

    Args:
        network: of precision fp32.
        frames: (N, H, W, 3) uint8 for calibration.

    Raises:
        PackError: no frames or frames of another size, values that are not finite, or a network whose values
            or weights do not fit half precision.
    """
    peaks = find_peaks(network, frames)
    largest = [float(written.max()) for written in peaks.written]
    excess = max(max(largest) / MAX_VALUE, max(_sums(network, peaks)) / MAX_SUM)
    exponent = max(0, math.ceil(math.log2(excess)) if excess > 0 else 0)
    factor = 2.0**-exponent
    for op, peak in zip(network.ops, largest, strict=True):
        if 0 < peak * factor < MIN_PEAK:
            raise PackError(
                f'the largest value of a {op.kind} operation is {peak:.3g}, and {peak * factor:.3g} after '
                f'the scaling by 2^-{exponent} that makes all values fit half precision: expected at least '
                f'{MIN_PEAK:.3g}, for enough precision; use fp32')
    return replace(
        network, precision='fp16', ops=tuple(_scaled(op, factor) for op in network.ops),
        logit_scale=network.logit_scale / factor, embedding_scale=network.embedding_scale / factor)


def _sums(network: Network, peaks: Peaks) -> Iterator[float]:
    """Each operation's largest sum of an output's magnitudes, with the bias."""
    for op, read in zip(network.ops, peaks.read, strict=True):
        if op.kind == 'copy':
            continue
        weights = np.abs(op.weights.astype(np.float64))
        if op.kind in ('stem', 'depthwise'):
            weights = weights.sum((1, 2))
        if op.kind == 'depthwise':
            totals = weights * read
        else:
            grouped = read.reshape(op.groups, -1, 1)
            totals = (weights.reshape(op.groups, -1, len(grouped[0])) @ grouped).reshape(-1)
        yield float((totals + np.abs(op.bias)).max())


def _scaled(op: Op, factor: float) -> Op:
    """Weights in half precision, biases in single precision."""
    wanted = op.weights.astype(np.float64) * (factor if op.kind == 'stem' else 1.0)
    with np.errstate(over='ignore'):  # infinite weights are an error below
        weights = wanted.astype(np.float16)
    size, lost = np.linalg.norm(wanted), np.linalg.norm(weights - wanted)
    if lost > MAX_LOSS * size:
        raise PackError(
            f'the weights of a {op.kind} operation, up to {np.abs(wanted).max():.3g}, have an error of '
            f'{lost / size:.2g} in half precision: expected at most {MAX_LOSS:.2g}, which holds for '
            'weights between 6e-5 and 65504; use fp32')
    return replace(op, weights=weights, bias=(op.bias * factor).astype(np.float32))
