"""The walk over a bundle's graph: our kernels get what onnxruntime computes."""

import hashlib
import subprocess
import sys

import pytest

pytest.importorskip('torch')
onnx = pytest.importorskip('onnx')

from graph_drafts import WITHIN, exported, off, taken  # noqa: E402

V1 = [f'shufflenet_v1_x{width}_g{groups}' for groups in (1, 2, 3, 4, 8)
      for width in ('0_25', '0_5', '0_75', '1_0', '1_5', '2_0')]
V2 = [f'shufflenet_v2_x{width}' for width in ('0_5', '1_0', '1_5', '2_0')]
OPTIONS = [
    {'shortcut_first': True}, {'shuffle_inverse': True}, {'shuffle': False}, {'stem_pool': False},
    {'groups': 8, 'shuffle_inverse': True, 'shortcut_first': True}, {'repeats': (1, 2, 1)},
    {'family': 'shufflenet_v2', 'ceil_pool': True}, {'family': 'shufflenet_v2', 'megvii': True},
    {'family': 'shufflenet_v2', 'channels': (52, 112, 230, 40), 'megvii': True},
]


@pytest.mark.parametrize('name', V1 + V2)
def test_every_network_is_taken_exactly(name):
    data = exported(name)
    network = taken(data)
    assert off(data, network) < WITHIN
    assert len(network.maps) <= 16 and len(network.ops) <= 80
    assert network.graph_sha256 == hashlib.sha256(
        onnx.load_from_string(data).graph.SerializeToString()).hexdigest()


@pytest.mark.parametrize('options', OPTIONS, ids=str)
def test_what_other_codes_weights_need_is_taken_exactly(options):
    data = exported({'width': 0.5, **options})
    assert off(data, taken(data)) < WITHIN


@pytest.mark.parametrize('size', [(64, 64), (96, 64), (224, 160), (64, 512)])
def test_sizes_need_not_be_square(size):
    data = exported('shufflenet_v1_x0_25_g3', size)
    assert off(data, taken(data, size)) < WITHIN


def test_a_v1_network_costs_no_operation_but_its_convolutions_and_a_v2_one_copies_what_a_unit_keeps():
    v1, v2 = taken(exported('shufflenet_v1_x0_5_g3')), taken(exported('shufflenet_v2_x0_5'))
    kinds = [op.kind for op in v1.ops]
    assert (kinds.count('pointwise'), kinds.count('depthwise'), kinds.count('copy')) == (32, 19, 0)
    # The sums of a stage are formed where the shortcut lies, in the map that its first unit filled.
    assert len({op.target for op in v1.ops if op.residual}) == 3
    copied = [op.count for op in v2.ops if op.kind == 'copy']
    assert copied == [24] * 3 + [48] * 7 + [96] * 3


def test_the_walk_needs_no_torch():
    code = ('import sys, shufflenet_ros.cli.models_pack, shufflenet_ros.packer.pack; '
            'print("torch" in sys.modules)')
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == 'False'
