# SPDX-License-Identifier: Apache-2.0
"""Reading a bundle's graph: the kernels get what onnxruntime computes."""

import hashlib
import subprocess
import sys

import pytest

pytest.importorskip('torch')
onnx = pytest.importorskip('onnx')

from graph_drafts import SIZE, WITHIN, error_of, exported, read  # noqa: E402

V1 = [f'shufflenet_v1_x{width}_g{groups}' for groups in (1, 2, 3, 4, 8)
      for width in ('0_25', '0_5', '0_75', '1_0', '1_5', '2_0')]
V2 = [f'shufflenet_v2_x{width}' for width in ('0_5', '1_0', '1_5', '2_0')]
OPTIONS = [  # what imported weights need
    {'shortcut_first': True}, {'shuffle_inverse': True}, {'shuffle': False}, {'stem_pool': False},
    {'groups': 8, 'shuffle_inverse': True, 'shortcut_first': True}, {'repeats': (1, 2, 1)},
    {'family': 'shufflenet_v2', 'ceil_pool': True}, {'family': 'shufflenet_v2', 'megvii': True},
    {'family': 'shufflenet_v2', 'channels': (52, 112, 230, 40), 'megvii': True},
]
SIZES = [(64, 64), (96, 64), (224, 160), (64, 512)]


@pytest.mark.parametrize(('network', 'size'), [
    *((name, SIZE) for name in V1 + V2), *(({'width': 0.5, **options}, SIZE) for options in OPTIONS),
    *(('shufflenet_v1_x0_25_g3', size) for size in SIZES),
], ids=str)
def test_every_network_is_read_exactly(network, size):
    data = exported(network, size)
    result = read(data, size)
    assert error_of(data, result) < WITHIN
    assert not isinstance(network, str) or (len(result.maps) <= 16 and len(result.ops) <= 80)
    assert result.graph_sha256 == hashlib.sha256(
        onnx.load_from_string(data).graph.SerializeToString()).hexdigest()


def test_v1_has_only_convolutions_and_v2_copies_what_a_unit_keeps():
    v1, v2 = read(exported('shufflenet_v1_x0_5_g3')), read(exported('shufflenet_v2_x0_5'))
    kinds = [op.kind for op in v1.ops]
    assert (kinds.count('pointwise'), kinds.count('depthwise'), kinds.count('copy')) == (32, 19, 0)
    # The sums of a stage are formed where the shortcut is, in the map that its first unit filled.
    assert len({op.target for op in v1.ops if op.residual}) == 3
    copied = [op.count for op in v2.ops if op.kind == 'copy']
    assert copied == [24] * 3 + [48] * 7 + [96] * 3


def test_reading_needs_no_torch():
    code = ('import sys, shufflenet_ros.cli.models_pack, shufflenet_ros.packer.pack; '
            'print("torch" in sys.modules)')
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == 'False'
