# SPDX-License-Identifier: Apache-2.0
"""Networks and calibration frames from which no int8 network can be made."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip('onnx')
pytest.importorskip('torch')

from graph_drafts import V1, exported, frames_for, read

from shufflenet_ros.packer.errors import PackError
from shufflenet_ros.packer.network import NO_TABLE, Map, Network, Op
from shufflenet_ros.packer.quantize import quantize


@pytest.fixture(scope='module')
def v1():
    return read(exported(V1))


@pytest.mark.parametrize(('frames', 'message'), [
    (np.zeros((0, 64, 96, 3), np.uint8), r'shape \[0, 64, 96, 3\], uint8: expected \[N, 64, 96, 3\] uint8'),
    (np.zeros((2, 96, 64, 3), np.uint8), r'shape \[2, 96, 64, 3\]'),
    (np.zeros((2, 64, 96, 3), np.float32), 'float32: expected .* uint8'),
    (np.zeros((64, 96, 3), np.uint8), r'shape \[64, 96, 3\]'),
])
def test_frames_that_do_not_fit(v1, frames, message):
    with pytest.raises(PackError, match=message):
        quantize(v1, frames)


def test_values_that_are_not_finite(v1):
    bias = v1.ops[1].bias.copy()
    bias[0] = np.inf
    broken = replace(v1, ops=(v1.ops[0], replace(v1.ops[1], bias=bias), *v1.ops[2:]))
    with pytest.raises(PackError, match='a pointwise operation gives inf on a calibration frame: expected'):
        quantize(broken, frames_for(v1))


def test_a_last_map_with_negative_values(v1):
    signed = tuple(replace(op, relu=False) if op.target == v1.ops[-1].source else op for op in v1.ops)
    with pytest.raises(PackError, match='before the linear layer has negative values'):
        quantize(replace(v1, ops=signed), frames_for(v1))


def test_scales_that_never_settle():
    """Two layers whose outputs stay small while their weights are huge, on maps that share a scale."""
    table = np.arange(2, dtype=np.uint32)
    weights = np.array([[1e4, -1e4], [-1e4, 1e4]], np.float32)

    def layer(source, target):
        return Op('pointwise', source, target, 2, weights, np.ones(2, np.float32), table, relu=True)

    ops = (
        Op('stem', None, 1, 3, np.zeros((2, 3, 3, 3), np.float32), np.ones(2, np.float32), NO_TABLE, stride=2,
           relu=True),
        layer(1, 0), layer(0, 1),
        Op('copy', 1, 0, 2, np.zeros(0, np.float32), np.zeros(0, np.float32), table + 2),
        Op('pointwise', 0, 1, 4, np.zeros((2, 4), np.float32), np.ones(2, np.float32), table, relu=True),
        Op('head', 1, None, 2, np.ones((3, 2), np.float32), np.zeros(3, np.float32), NO_TABLE))
    network = Network('fp32', (8, 8), (Map(4, 4, 4), Map(2, 4, 4)), ops, '00' * 32)
    with pytest.raises(PackError, match='scales of maps still grow after 32 passes: expected weights'):
        quantize(network, np.zeros((2, 8, 8, 3), np.uint8))
