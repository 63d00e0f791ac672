# SPDX-License-Identifier: Apache-2.0
"""Reading a bundle's graph: the network computes the same as onnxruntime, whatever the operators."""

import hashlib
import os

import numpy as np
import pytest

pytest.importorskip('torch')
onnx = pytest.importorskip('onnx')

from graph_drafts import SIZE, V1, V2, WITHIN, GraphDraft, error_of, exported, read  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

NETWORKS = [*(f'shufflenet_v1_x0_25_g{groups}' for groups in (1, 2, 3, 4, 8)),
            *(f'shufflenet_v1_x{width}_g3' for width in ('0_5', '0_75', '1_0')),
            'shufflenet_v1_x0_5_g8', 'shufflenet_v2_x0_5', 'shufflenet_v2_x1_0']
if os.environ.get('SHUFFLENET_TEST_FULL'):
    NETWORKS = [*(f'shufflenet_v1_x{width}_g{groups}' for groups in (1, 2, 3, 4, 8)
                  for width in ('0_25', '0_5', '0_75', '1_0', '1_5', '2_0')),
                *(f'shufflenet_v2_x{width}' for width in ('0_5', '1_0', '1_5', '2_0'))]
OPTIONS = [  # what imported weights need
    {'shortcut_first': True}, {'shuffle_inverse': True}, {'shuffle': False}, {'stem_pool': False},
    {'groups': 8, 'shuffle_inverse': True, 'shortcut_first': True}, {'repeats': (1, 2, 1)},
    {'family': 'shufflenet_v2', 'ceil_pool': True}, {'family': 'shufflenet_v2', 'megvii': True},
    {'family': 'shufflenet_v2', 'channels': (52, 112, 230, 40), 'megvii': True},
]
SIZES = [(64, 64), (96, 64), (224, 160), (64, 512)]


@pytest.mark.parametrize(('network', 'size'), [
    *((name, SIZE) for name in NETWORKS), *(({'width': 0.5, **options}, SIZE) for options in OPTIONS),
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


def norms(draft: GraphDraft) -> None:
    rng = np.random.default_rng(3)
    sizes = {t.name: t.dims[0] for t in draft.graph.initializer}
    for node in draft.all('Conv'):
        values = (rng.uniform(low, high, sizes[node.input[1]]).astype(np.float32)
                  for low, high in ((-1.5, 1.5), (-1, 1), (-0.5, 0.5), (0.5, 2)))
        draft.after(node, 'BatchNormalization', *map(draft.constant, values), epsilon=1e-3)


def scaled_frame(draft: GraphDraft) -> None:
    sub = draft.find('Sub')
    draft.after(sub, 'Div', draft.constant(np.array([1.5, 2, 2.5], np.float32).reshape(1, 3, 1, 1)))
    draft.after(sub, 'Mul', draft.constant(np.float32(0.5)))


def cast_first(draft: GraphDraft) -> None:
    transpose, cast = draft.find('Transpose'), draft.find('Cast')
    draft.replace(cast)
    draft.replace(transpose, helper.make_node('Cast', ['frame'], ['cast'], to=TensorProto.FLOAT),
                  helper.make_node('Transpose', ['cast'], list(cast.output), perm=[0, 3, 1, 2]))


def mean_in_nhwc(draft: GraphDraft) -> None:
    cast_first(draft)
    sub, transpose = draft.find('Sub'), draft.find('Transpose')
    mean = draft.constant(draft.values(sub.input[1]).reshape(3))
    end = sub.output[0]
    draft.replace(sub)
    draft.replace(transpose, helper.make_node('Sub', ['cast', mean], ['less']),
                  helper.make_node('Transpose', ['less'], [end], perm=[0, 3, 1, 2]))


def other_head(draft: GraphDraft) -> None:
    mean, gemm = draft.find('ReduceMean'), draft.find('Gemm')
    draft.replace(mean, helper.make_node('GlobalAveragePool', [mean.input[0]], ['means']),
                  helper.make_node('Flatten', ['means'], ['embedding']))
    weight, bias = draft.constant(draft.values(gemm.input[1]).T.copy()), gemm.input[2]
    draft.replace(gemm, helper.make_node('MatMul', ['embedding', weight], ['product']),
                  helper.make_node('Add', [bias, 'product'], ['logits']))


def slices(draft: GraphDraft) -> None:
    for split in draft.all('Split'):
        half = draft.constant(np.array([10**6]))
        sizes = draft.values(split.input[1])
        cut, axis, zero = map(draft.constant, (sizes[:1], np.array([1]), np.array([0])))
        draft.replace(split, helper.make_node('Slice', [split.input[0], zero, cut, axis], [split.output[0]]),
                      helper.make_node('Slice', [split.input[0], cut, half, axis], [split.output[1]]))


def other_shapes(draft: GraphDraft) -> None:
    """Reshapes that leave a number open, or keep it by a 0."""
    for node in draft.all('Constant'):
        shape = numpy_helper.to_array(node.attribute[0].t).copy()
        if shape.size == 5:
            shape[2] = -1
        elif shape.size == 4:
            shape[[0, 1]] = 0, -1
        node.attribute[0].t.CopyFrom(numpy_helper.from_array(shape))


def pool_before_relu(draft: GraphDraft) -> None:
    relu, pool = draft.find('Relu'), draft.find('MaxPool')
    raw, end = relu.input[0], pool.output[0]
    relu.input[0], relu.output[0] = 'pooled', end
    pool.input[0], pool.output[0] = raw, 'pooled'
    draft.swap(relu, pool)


def swapped_sums(draft: GraphDraft) -> None:
    for node in draft.all('Add'):
        node.input[0], node.input[1] = node.input[1], node.input[0]


def idle_branch(draft: GraphDraft) -> None:
    draft.graph.node.append(helper.make_node('Sigmoid', [draft.find('Cast').output[0]], ['nobody reads it']))


def megviis_shuffle(draft: GraphDraft) -> None:
    """Planes as one axis, pairs in front, and two Gathers in place of a Split."""
    for split in draft.all('Split'):
        sizes = draft.values(split.input[1])
        half = int(sizes[0])
        stage = {12: 8, 24: 16, 48: 32}[half]
        h, w = SIZE[0] // stage, SIZE[1] // stage
        pairs, parts = map(draft.constant, (np.array([half, 2, h * w]), np.array([2, -1, half, h, w])))
        tag = split.output[0]
        make = helper.make_node
        draft.replace(
            split, make('Reshape', [split.input[0], pairs], [f'{tag}1']),
            make('Transpose', [f'{tag}1'], [f'{tag}2'], perm=[1, 0, 2]),
            make('Reshape', [f'{tag}2', parts], [f'{tag}3']),
            make('Gather', [f'{tag}3', draft.constant(np.array(0))], [split.output[0]], axis=0),
            make('Gather', [f'{tag}3', draft.constant(np.array(1))], [split.output[1]], axis=0))


@pytest.mark.parametrize(('network', 'change'), [
    *((V1, change) for change in (norms, scaled_frame, cast_first, mean_in_nhwc, other_head, other_shapes,
                                  pool_before_relu, swapped_sums, idle_branch)),
    *((V2, change) for change in (norms, slices, other_head, other_shapes, megviis_shuffle)),
])
def test_other_spellings_are_read_exactly(network, change):
    draft = GraphDraft(exported(network))
    change(draft)
    assert error_of(draft.bytes(), read(draft.bytes())) < WITHIN
