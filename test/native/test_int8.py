# SPDX-License-Identifier: Apache-2.0
"""int8 kernels give the bits of the definition in NumPy, on every CPU."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from blob_networks import shuffle_v1, shuffle_v2
from native_context import Context

from benchmarks.arm.emulate import INFERENCES
from shufflenet_ros.packer.blob import write_blob
from shufflenet_ros.packer.network import Network, Op
from shufflenet_ros.packer.reference import evaluate, requantize

AVX2, AVX512, AVX512_VNNI, AVX_VNNI = (1 << bit for bit in (8, 9, 10, 11))
SETS = {'int8-c': 0, 'int8-avx2': AVX2, 'int8-avxvnni': AVX2 | AVX_VNNI,
        'int8-vnni': AVX2 | AVX512 | AVX512_VNNI}
"""Kernels, and the features that they need."""

# Odd channel counts, every group count and pool, maps from 32x48 down to 2x2, frames that are not square.
NETWORKS = {
    'v1 g1': shuffle_v1((64, 96), groups=1, stages=((27, 2), (54, 2), (109, 2)), classes=7),
    'v1 g2': shuffle_v1((96, 64), groups=2, stages=((46, 2), (92, 2), (184, 2)), classes=1, pool='end'),
    'v1 g3': shuffle_v1((64, 64), groups=3, stages=((60, 2), (120, 3), (240, 2)), classes=1000, pool=''),
    'v1 g4': shuffle_v1((160, 128), groups=4, stages=((68, 2), (136, 2), (272, 2)), classes=33),
    'v1 g8': shuffle_v1((64, 160), groups=8, stem=24, stages=((136, 2), (272, 2)), classes=16, pool='end'),
    'v2 29': shuffle_v2((64, 96), stages=((29, 2), (59, 2), (61, 3)), last=77, classes=13),
    'v2 24': shuffle_v2((128, 160), stages=((24, 2), (48, 2)), last=130, classes=1000, pool='end'),
    'v2 11': shuffle_v2((64, 64), stages=((11, 2), (22, 2), (45, 2), (17, 2)), last=9, classes=2, pool=''),
}


@dataclass(frozen=True)
class Sample:
    """A network, frames, and their outputs by the definition."""

    network: Network
    frames: np.ndarray
    logits: np.ndarray
    embeddings: np.ndarray


def images(size: tuple[int, int], count: int, seed: int = 0) -> np.ndarray:
    """(count, H, W, 3) uint8: colored tiles with noise, and both ends of the range."""
    rng = np.random.default_rng(seed)
    tiles = rng.integers(0, 256, (count, size[0] // 16, size[1] // 16, 3)).repeat(16, 1).repeat(16, 2)
    return np.clip(tiles + rng.integers(-60, 60, tiles.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope='module', params=NETWORKS)
def sample(request) -> Sample:
    network = NETWORKS[request.param]
    frames = images(network.size, INFERENCES)
    return Sample(network, frames, *evaluate(network, frames))


def same_bits(got: np.ndarray, wanted: np.ndarray) -> None:
    np.testing.assert_array_equal(got.view(np.uint32), wanted.view(np.uint32))


def test_the_networks_use_the_range(sample):
    """Otherwise equality would mean little: steps vary, and frames differ."""
    def visit(index, steps):
        kind = sample.network.ops[index].kind
        assert steps.std() > 15 and np.isin(steps, (-128, 127)).mean() < 0.6, kind

    evaluate(sample.network, sample.frames[:1], visit)
    assert np.ptp(sample.logits, axis=0).min() > 0
    assert np.ptp(sample.embeddings, axis=0).max() > 0


@pytest.mark.parametrize('kernels', SETS)
def test_kernels_of_this_machine(kernels, sample):
    context = Context(write_blob(sample.network), SETS[kernels])
    if context.kernels != kernels:
        pytest.skip(f'this CPU or compiler has no {kernels}')
    for frame, logits, embedding in zip(sample.frames, sample.logits, sample.embeddings):
        got = context(frame)
        same_bits(got[0], logits)
        same_bits(got[1], embedding)


def test_rows_with_gaps(sample):
    """A frame may be a part of a larger image."""
    height, width = sample.network.size
    image = np.full((height, width + 5, 3), 77, np.uint8)
    image[:, 2:-3] = sample.frames[0]
    same_bits(Context(write_blob(sample.network))(image[:, 2:-3])[0], sample.logits[0])


@pytest.mark.parametrize('cpu, kernels', [('cortex-a76', 'int8-dot'), ('cortex-a72', 'int8-neon')])
def test_kernels_of_arm(cpu, kernels, sample, driver):
    from benchmarks.arm.native_count import run_driver
    logits, used, _ = run_driver(driver, cpu, write_blob(sample.network), sample.frames.tobytes())
    assert used == kernels
    same_bits(np.ascontiguousarray(logits), sample.logits)


def test_the_definition_rounds_as_the_instructions_do():
    """(sum + 8) >> 4, then the doubled product's upper half, then the residual, each saturated."""
    op = Op('pointwise', 0, 1, 1, np.zeros((4, 1), np.int8), np.zeros(4, np.int32), np.zeros(4, np.uint32),
            multiplier=np.array([16384, 16384, 32767, 256], np.int16), residual_multiplier=16384)
    sums = np.array([[7, 8, -8, -9], [24, 40, -24, -40], [1 << 22, -(1 << 22), 2032, -2064],
                     [1 << 16, 0, 0, 0]])
    assert requantize(op, sums).tolist() == [
        [0, 1, 0, 0], [1, 2, 0, -1], [127, -128, 127, -128], [32, 0, 0, 0]]
    previous = np.array([[3, -3, 1, 0], [0, 0, 0, 0], [-128, 127, -128, 127], [127, 0, 0, 0]], np.int8)
    assert requantize(op, sums, previous).tolist() == [
        [2, 0, 1, 0], [1, 2, 0, -1], [127, -128, 63, -65], [96, 0, 0, 0]]
