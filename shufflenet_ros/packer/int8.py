"""The arithmetic of int8 networks: this module defines it, bit for bit, for every CPU.

A map holds steps q from -128 to 127. After a ReLU a step's value is (q + 128) * scale, elsewhere q * scale.
The blob has no such scales: multipliers and biases have absorbed them. Sums are int32; the quantizer keeps
biases below 2^29, so that no sum leaves it. Weights are from -127 to 127, so that two products fit 16 bits.
"""

import numpy as np

from shufflenet_ros.packer.network import Array, Op

HALF_OF_16 = 8
HALF_OF_ONE = 1 << 15
"""Multipliers have 15 bits and each product is doubled: NEON's sqrdmulh, x86's pmulhrsw."""


def requantize(sums: Array, op: Op, held: Array | None = None) -> Array:
    """Sums of products with the bias, (channels, ...) int64, to steps of the target, int8.

    held: what the target held, for an operation that adds it.
    """
    assert op.multiplier is not None
    factors = op.multiplier.astype(np.int64).reshape(-1, *[1] * (sums.ndim - 1))
    steps = clip16((2 * clip16((sums + HALF_OF_16) >> 4) * factors + HALF_OF_ONE) >> 16)
    if held is not None:
        steps = clip16(steps + ((2 * held.astype(np.int64) * op.residual_multiplier + HALF_OF_ONE) >> 16))
    return clip8(steps)


def pooled(totals: Array, scale: float) -> Array:
    """A plane's sum of (q + 128) as float32 (channels,) to the step of its mean, int8."""
    return clip8(np.floor(totals * np.float32(scale) + np.float32(0.5)) - np.float32(128))


def head(steps: Array, op: Op, embedding_scale: float) -> tuple[Array, Array]:
    """The last map (channels, H, W) int8 to logits and embedding, float32. Each float step rounds once."""
    assert op.multiplier is not None
    totals = (steps.astype(np.int64) + 128).sum((1, 2)).astype(np.float32)
    area = np.float32(steps[0].size)
    weights = op.weights.astype(np.int64)
    sums = weights @ pooled(totals, op.scale).astype(np.int64) + 128 * weights.sum(1)
    logits = sums.astype(np.float32) * op.multiplier.astype(np.float32) + op.bias.astype(np.float32)
    return logits, totals / area * np.float32(embedding_scale)


def padding(op: Op) -> tuple[int, ...]:
    """What a stem (a step a channel of the frame) or depthwise operation sees outside its source."""
    if op.kind == 'stem':
        return tuple(int(np.floor(np.float32(value) + np.float32(0.5))) for value in op.pad)
    return (-128 if op.unsigned else 0,)


def clip16(values: Array) -> Array:
    """Saturated to 16 bits."""
    return np.clip(values, -(1 << 15), (1 << 15) - 1)


def clip8(values: Array) -> Array:
    """Saturated to int8."""
    return np.clip(values, -128, 127).astype(np.int8)
