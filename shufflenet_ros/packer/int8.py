# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of int8 networks. This module defines it to the bit, for every CPU.

A map holds steps q from -128 to 127. After a ReLU a step's value is (q + 128) * scale, elsewhere q * scale.
Blobs have no such scales: multipliers and biases contain them. Sums are int32; quantize keeps biases below
2^29, so that no sum overflows. Weights are from -127 to 127, so that the sum of two products fits 16 bits.
"""

import numpy as np

from shufflenet_ros.packer.network import Array, Op

HALF_OF_16 = 8
HALF_OF_ONE = 1 << 15
"""Multipliers have 15 bits and each product is doubled, as NEON's sqrdmulh and x86's pmulhrsw do."""


def requantize(sums: Array, op: Op, held: Array | None = None) -> Array:
    """Steps of the target, int8, from sums of products and bias, (channels, ...) int64.

    held: what the target held, if the operation adds to it.
    """
    assert op.multiplier is not None
    factors = op.multiplier.astype(np.int64).reshape(-1, *[1] * (sums.ndim - 1))
    steps = clip16((2 * clip16((sums + HALF_OF_16) >> 4) * factors + HALF_OF_ONE) >> 16)
    if held is not None:
        steps = clip16(steps + ((2 * held.astype(np.int64) * op.residual_multiplier + HALF_OF_ONE) >> 16))
    return clip8(steps)


def pooled(totals: Array, scale: float) -> Array:
    """The step of a plane's mean, int8, from its sum of (q + 128), (channels,) float32."""
    return clip8(np.floor(totals * np.float32(scale) + np.float32(0.5)) - np.float32(128))


def head(steps: Array, op: Op, embedding_scale: float) -> tuple[Array, Array]:
    """Logits and embedding, float32, from the last map (channels, H, W) int8. Each float step rounds once."""
    assert op.multiplier is not None
    totals = (steps.astype(np.int64) + 128).sum((1, 2)).astype(np.float32)
    area = np.float32(steps[0].size)
    weights = op.weights.astype(np.int64)
    sums = weights @ pooled(totals, op.scale).astype(np.int64) + 128 * weights.sum(1)
    logits = sums.astype(np.float32) * op.multiplier.astype(np.float32) + op.bias.astype(np.float32)
    return logits, totals / area * np.float32(embedding_scale)


def padding(op: Op) -> tuple[int, ...]:
    """The steps outside the source: one a color for a stem, one for a depthwise operation."""
    if op.kind == 'stem':
        return tuple(int(np.floor(np.float32(value) + np.float32(0.5))) for value in op.pad)
    return (-128 if op.unsigned else 0,)


def clip16(values: Array) -> Array:
    """Saturated to 16 bits."""
    return np.clip(values, -(1 << 15), (1 << 15) - 1)


def clip8(values: Array) -> Array:
    """Saturated to int8."""
    return np.clip(values, -128, 127).astype(np.int8)
