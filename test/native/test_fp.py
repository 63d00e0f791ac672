# SPDX-License-Identifier: Apache-2.0
"""The floating-point kernels against onnxruntime."""

from __future__ import annotations

import os

import numpy as np
import pytest
from graph_drafts import V1, V2, WITHIN, expected_outputs, exported, frames_for, read, relative_error
from native_context import Context

from shufflenet_ros.packer.blob import write_blob
from shufflenet_ros.packer.half import to_half
from shufflenet_ros.packer.network import Network

NETWORKS = [*(f'shufflenet_v1_x{width}_g{groups}' for groups in (1, 2, 3, 4, 8) for width in ('0_25', '0_5')),
            'shufflenet_v1_x1_0_g3', 'shufflenet_v2_x0_5', 'shufflenet_v2_x1_0']
if os.environ.get('SHUFFLENET_TEST_FULL'):
    NETWORKS += [*(f'shufflenet_v1_x{width}_g{groups}' for groups in (1, 2, 3, 4, 8)
                   for width in ('1_0', '1_5', '2_0')), 'shufflenet_v2_x1_5', 'shufflenet_v2_x2_0']
SIZES = [(64, 96), (96, 64), (160, 128), (128, 224), (224, 224), (256, 288), (512, 64)]
TINY = {'groups': 4, 'width': 0.25, 'repeats': (1, 1, 1)}
ANY, PLAIN = 0xFFFFFFFF, 0


def check_kernels(graph: bytes, network: Network, within: float = WITHIN, kernels: str = '') -> None:
    """Compare the CPU's best kernels and the plain ones with onnxruntime."""
    frames = frames_for(network, 2, 5)
    expected = expected_outputs(graph, frames)
    for features in (ANY, PLAIN):
        context = Context(write_blob(network), features)
        assert context.kernels.startswith(kernels)
        for frame, outputs in zip(frames, expected, strict=True):
            for got, wanted in zip(context(frame), outputs, strict=True):
                assert relative_error(got, wanted) < within


@pytest.mark.parametrize(('network', 'size', 'classes'), [
    *((name, (64, 64), 10) for name in NETWORKS),
    *((network, size, 10) for network in (V1, V2) for size in SIZES),
    *((TINY, (64, 64), classes) for classes in (1, 2, 7, 8, 9, 200, 1000, 1001)),
    ({'family': 'shufflenet_v1', 'stem_pool': False, 'repeats': (1, 1, 1)}, (96, 64), 10),
    ({**V2, 'ceil_pool': True}, (96, 64), 10),
], ids=str)
def test_every_network_agrees_with_onnxruntime(network, size, classes):
    # A single logit can nearly cancel, and no bound relative to it holds then; with seed 1 none does.
    graph = exported(network, size, classes, seed=1)
    check_kernels(graph, read(graph, size))


def test_half_precision_files_run_on_any_cpu_within_their_rounding():
    graph = exported('shufflenet_v1_x0_5_g3', (64, 64), 100, 0)
    network = read(graph, (64, 64))
    check_kernels(graph, to_half(network, frames_for(network, 8, 5)), 1e-2, 'fp16')


def test_rows_of_the_frame_may_have_gaps_or_be_upside_down():
    context = Context(write_blob(read(exported(TINY, (64, 64)), (64, 64))))
    frame = np.random.default_rng(5).integers(0, 256, (64, 64, 3), np.uint8)
    wide = np.zeros((64, 80, 3), np.uint8)
    wide[:, 8:72] = frame
    flipped = np.ascontiguousarray(frame[::-1])[::-1]
    assert flipped.strides[0] < 0
    for other in (wide[:, 8:72], flipped):
        for got, wanted in zip(context(other), context(frame), strict=True):
            np.testing.assert_array_equal(got, wanted)
