"""The floating-point kernels against onnxruntime, on every network of the zoo that they take."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import onnxruntime
import pytest
import torch
from foreign_weights import randomize_batch_norms
from native_context import Context

from shufflenet_ros.core.card import CardInput
from shufflenet_ros.datasets.calibration import seeded_images
from shufflenet_ros.packer.blob import write_blob
from shufflenet_ros.packer.graph import read_network
from shufflenet_ros.packer.half import to_half
from shufflenet_ros.zoo.export import to_onnx
from shufflenet_ros.zoo.registry import build, config_of

WITHIN = 1e-5
OUTPUTS = {'logits': 'logits', 'embedding': 'embedding'}
V1 = [f'shufflenet_v1_x{width}_g{groups}' for groups in (1, 2, 3, 4, 8)
      for width in ('0_25', '0_5', '1_0', '1_5', '2_0')]
V2 = [f'shufflenet_v2_x{width}' for width in ('0_5', '1_0', '1_5', '2_0')]
ANY, PLAIN = 0xFFFFFFFF, 0


def network_of(network: object, classes: int, size: tuple[int, int], seed: int = 0):
    """A deployed graph with random weights and norms, and its operations."""
    torch.manual_seed(seed)
    model = randomize_batch_norms(build(config_of(network, classes)))
    graph = to_onnx(model, size)
    return graph, read_network(graph, CardInput('NHWC', 'uint8', size, 'rgb'), OUTPUTS)


def frames_of(size: tuple[int, int], count: int = 2) -> list[np.ndarray]:
    return [image.pixels for image in seeded_images(size, count, seed=5)]


def answers_of(graph: bytes, frames: list[np.ndarray]) -> list[list[np.ndarray]]:
    session = onnxruntime.InferenceSession(graph)
    return [[value[0] for value in session.run(['logits', 'embedding'], {'frame': frame[None]})]
            for frame in frames]


def off(got: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(got - expected).max() / np.abs(expected).max())


def assert_agrees(graph: bytes, context: Context, size: tuple[int, int]) -> None:
    frames = frames_of(size)
    for frame, expected in zip(frames, answers_of(graph, frames), strict=True):
        for got, wanted in zip(context(frame), expected, strict=True):
            assert off(got, wanted) < WITHIN


@pytest.mark.parametrize('name', V1 + V2)
def test_every_network_agrees_with_onnxruntime(name):
    graph, network = network_of(name, 10, (64, 64))
    blob = write_blob(network)
    for features in (ANY, PLAIN):
        assert_agrees(graph, Context(blob, features), (64, 64))


@pytest.mark.parametrize('size', [(64, 96), (96, 64), (160, 128), (128, 224), (224, 224), (256, 288),
                                  (512, 64)])
@pytest.mark.parametrize('name', ['shufflenet_v1_x0_5_g3', 'shufflenet_v2_x0_5'])
def test_every_size_agrees_with_onnxruntime(name, size):
    graph, network = network_of(name, 10, size)
    for features in (ANY, PLAIN):
        assert_agrees(graph, Context(write_blob(network), features), size)


@pytest.mark.parametrize('classes', [1, 2, 7, 8, 9, 200, 1000, 1001])
def test_any_number_of_classes(classes):
    # A single logit can nearly cancel, and no bound relative to it holds then; with this seed it does not.
    graph, network = network_of('shufflenet_v1_x0_25_g4', classes, (64, 64), seed=1)
    for features in (ANY, PLAIN):
        assert_agrees(graph, Context(write_blob(network), features), (64, 64))


@pytest.mark.parametrize('options', [
    {'family': 'shufflenet_v1', 'stem_pool': False},
    {'family': 'shufflenet_v2', 'ceil_pool': True},
])
def test_stems_without_a_pool_and_with_one_at_the_end(options):
    graph, network = network_of(options, 10, (96, 64))
    for features in (ANY, PLAIN):
        assert_agrees(graph, Context(write_blob(network), features), (96, 64))


@lru_cache(maxsize=1)
def small() -> bytes:
    return write_blob(network_of('shufflenet_v1_x0_25_g3', 10, (64, 64))[1])


def test_half_precision_files_run_on_any_cpu_within_their_rounding():
    graph, network = network_of('shufflenet_v1_x0_5_g3', 100, (64, 64))
    blob = write_blob(to_half(network, np.stack(frames_of((64, 64), 8))))
    frames = frames_of((64, 64))
    for features in (ANY, PLAIN):
        context = Context(blob, features)
        assert context.kernels.startswith('fp16')
        for frame, expected in zip(frames, answers_of(graph, frames), strict=True):
            for got, wanted in zip(context(frame), expected, strict=True):
                assert off(got, wanted) < 1e-2


def test_rows_of_the_frame_may_lie_apart_or_upside_down():
    context = Context(small())
    frame = frames_of((64, 64))[0]
    wide = np.zeros((64, 80, 3), np.uint8)
    wide[:, 8:72] = frame
    apart = wide[:, 8:72]
    flipped = np.ascontiguousarray(frame[::-1])[::-1]
    assert flipped.strides[0] < 0
    for other in (apart, flipped):
        assert all(np.array_equal(a, b) for a, b in zip(context(frame), context(other), strict=True))


def test_a_frame_leaves_nothing_behind():
    context = Context(small())
    first, second = frames_of((64, 64))
    before = context(first)
    context(second)
    assert all(np.array_equal(a, b) for a, b in zip(before, context(first), strict=True))
