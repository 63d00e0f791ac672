# SPDX-License-Identifier: Apache-2.0
"""The same computation in other operators than our exporter writes, checked against onnxruntime."""

import numpy as np
import pytest

pytest.importorskip('torch')
onnx = pytest.importorskip('onnx')

from graph_drafts import SIZE, V1, V2, WITHIN, GraphDraft, error_of, exported, read  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402


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
        stage = {24: 8, 48: 16, 96: 32}[half]
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
