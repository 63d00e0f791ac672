"""A float network to a half-precision one: everything scaled by a power of two into the range of half.

A network of convolutions and ReLUs is homogeneous: with the first weights and all biases times 2^-k every
value is 2^-k of what it was, and the outputs are multiplied by 2^k.
"""

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from shufflenet_ros.packer.errors import PackError
from shufflenet_ros.packer.network import Array, Network, Op
from shufflenet_ros.packer.ranges import Peaks, find_peaks

MOST_VALUE = 2.0**13
"""Of any value on the calibration frames: others may be eight times as large."""
MOST_SUM = 2.0**15
"""Of the sum of an output's magnitudes when each input has its peak, which no partial sum exceeds."""
LEAST_PEAK = 2.0**-10
"""Of any map: half's steps near 0, 2^-24, are then at most 2^-14 of it."""
MOST_LOSS = 2.0**-10
"""Of a layer's weights, root mean square by rounding to half, of their own: rounding alone gives 2^-12.5."""


def to_half(network: Network, frames: Array) -> Network:
    """The fp16 network of a float one.

    Args:
        network: of precision fp32.
        frames: (N, H, W, 3) uint8 for calibration.

    Raises:
        PackError: frames of another size or none, values that are not finite, or a network whose values or
            weights half precision cannot hold.
    """
    peaks = find_peaks(network, frames)
    exponent = _exponent(network, peaks)
    factor = 2.0**-exponent
    for op, peak in zip(network.ops, _largest(network, peaks), strict=True):
        if 0 < peak * factor < LEAST_PEAK:
            raise PackError(
                f'the largest value of a {op.kind} operation is {peak:.3g}, and {peak * factor:.3g} once the '
                f'largest of all fits half precision (times 2^-{exponent}): expected at least '
                f'{LEAST_PEAK:.3g}, or half has no digits left for it; use fp32')
    return replace(
        network, precision='fp16', ops=tuple(_scaled(op, factor) for op in network.ops),
        logit_scale=network.logit_scale / factor, embedding_scale=network.embedding_scale / factor)


def _exponent(network: Network, peaks: Peaks) -> int:
    """The least k for which everything fits, 0 where it does as it is."""
    excess = max(max(_largest(network, peaks)) / MOST_VALUE, max(_sums(network, peaks)) / MOST_SUM)
    return max(0, math.ceil(math.log2(excess)) if excess > 0 else 0)


def _largest(network: Network, peaks: Peaks) -> Iterator[float]:
    """Of each operation's outputs."""
    return (float(written.max()) for written in peaks.written)


def _sums(network: Network, peaks: Peaks) -> Iterator[float]:
    """Of each operation: the largest magnitudes' sum of an output, with the bias."""
    for op, read in zip(network.ops, peaks.read, strict=True):
        if op.kind == 'copy':
            continue
        weights = np.abs(op.weights.astype(np.float64))
        if op.kind == 'depthwise':
            totals = weights.sum((1, 2)) * read
        elif op.kind == 'stem':
            totals = weights.sum((1, 2)) @ read
        else:
            grouped = read.reshape(op.groups, -1, 1)
            totals = (weights.reshape(op.groups, -1, len(grouped[0])) @ grouped).reshape(-1)
        yield float((totals + np.abs(op.bias)).max())


def _scaled(op: Op, factor: float) -> Op:
    """Weights in half, biases in single precision."""
    wanted = op.weights.astype(np.float64) * (factor if op.kind == 'stem' else 1.0)
    with np.errstate(over='ignore'):  # infinite weights are refused below
        weights = wanted.astype(np.float16)
    size, lost = np.linalg.norm(wanted), np.linalg.norm(weights - wanted)
    if lost > MOST_LOSS * size:
        raise PackError(
            f'the weights of a {op.kind} operation, up to {np.abs(wanted).max():.3g}, lose '
            f'{lost / size:.2g} of themselves in half precision: expected at most {MOST_LOSS:.2g}, that is, '
            'values between 6e-5 and 65504; use fp32')
    return replace(op, weights=weights, bias=(op.bias * factor).astype(np.float32))
