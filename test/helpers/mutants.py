# SPDX-License-Identifier: Apache-2.0
"""Malformed models: a valid network with a few parts changed, and single models that attack a limit."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper
from onnx_models import CLASSES, SIZE, model, value, weights

OPERATORS = [
    'Conv', 'Relu', 'Reshape', 'Transpose', 'Split', 'Concat', 'MatMul', 'Gemm', 'MaxPool', 'ReduceMean',
    'Gather', 'Slice', 'Pad', 'Squeeze', 'Flatten', 'Tile', 'Loop', 'If', 'Resize', 'QLinearConv', 'NoSuchOp']
NUMBERS = [-(2 ** 63), -2, -1, 0, 1, 2, 7, 8, 255, 2 ** 31, 2 ** 62]


def unit() -> onnx.ModelProto:
    """A small shuffle unit: convolution, split, shuffle, concatenation, pooling, classifier."""
    rng = np.random.default_rng(11)
    make = helper.make_node
    nodes = [
        make('Cast', ['image'], ['float'], to=TensorProto.FLOAT),
        make('Transpose', ['float'], ['x'], perm=[0, 3, 1, 2]),
        make('Conv', ['x', 'k1'], ['c1'], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        make('Relu', ['c1'], ['r1']),
        make('Split', ['r1', 'halves'], ['left', 'right'], axis=1),
        make('Conv', ['left', 'k2'], ['c2'], kernel_shape=[3, 3], pads=[1, 1, 1, 1], group=3),
        make('Concat', ['c2', 'right'], ['cat'], axis=1),
        make('Reshape', ['cat', 'grouped'], ['g']),
        make('Transpose', ['g'], ['t'], perm=[0, 2, 1, 3, 4]),
        make('Reshape', ['t', 'joined'], ['shuffled']),
        make('MaxPool', ['shuffled'], ['pooled'], kernel_shape=[2, 2], strides=[2, 2]),
        make('ReduceMean', ['pooled'], ['features'], axes=[2, 3], keepdims=0),
        make('Gemm', ['features', 'w2', 'b2'], ['logits']),
    ]
    constants = {'k1': rng.normal(size=(6, 3, 3, 3)).astype(np.float32), 'halves': np.array([3, 3]),
                 'k2': rng.normal(size=(3, 1, 3, 3)).astype(np.float32), 'grouped': np.array([1, 2, 3, 4, 4]),
                 'joined': np.array([1, 6, 4, 4]), 'w2': weights()['w2'], 'b2': weights()['b2']}
    return model(nodes, [value('image', TensorProto.UINT8, [1, SIZE, SIZE, 3])],
                 [value('logits', TensorProto.FLOAT, [1, CLASSES])], constants)


def _attribute(proto: onnx.ModelProto, rng: random.Random) -> None:
    attribute = rng.choice([a for node in proto.graph.node for a in node.attribute])
    if attribute.ints and rng.random() < 0.7:
        attribute.ints[rng.randrange(len(attribute.ints))] = rng.choice(NUMBERS)
    elif attribute.ints:
        attribute.ints.append(rng.choice(NUMBERS))
    else:
        attribute.i = rng.choice(NUMBERS)


def _dims(proto: onnx.ModelProto, rng: random.Random) -> None:
    tensor = rng.choice(list(proto.graph.initializer))
    tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(NUMBERS)


def _dtype(proto: onnx.ModelProto, rng: random.Random) -> None:
    rng.choice(list(proto.graph.initializer)).data_type = rng.randrange(-1, 24)


def _content(proto: onnx.ModelProto, rng: random.Random) -> None:
    tensor = rng.choice(list(proto.graph.initializer))
    raw = bytearray(tensor.raw_data)
    if rng.random() < 0.5:
        raw = raw[:rng.randrange(len(raw))]
    else:
        raw[rng.randrange(len(raw))] = rng.randrange(256)
    tensor.raw_data = bytes(raw)


def _operator(proto: onnx.ModelProto, rng: random.Random) -> None:
    rng.choice(list(proto.graph.node)).op_type = rng.choice(OPERATORS)


def _wire(proto: onnx.ModelProto, rng: random.Random) -> None:
    names = [name for node in proto.graph.node for name in [*node.input, *node.output]] + ['', 'nowhere']
    node = rng.choice(list(proto.graph.node))
    ends = rng.choice([node.input, node.output])
    ends[rng.randrange(len(ends))] = rng.choice(names)


def _count(proto: onnx.ModelProto, rng: random.Random) -> None:
    node = rng.choice(list(proto.graph.node))
    ends = rng.choice([node.input, node.output])
    if rng.random() < 0.5:
        ends.append(rng.choice(['x', 'cat', 'fresh', '']))
    else:
        del ends[-1]


def _nodes(proto: onnx.ModelProto, rng: random.Random) -> None:
    at = rng.randrange(len(proto.graph.node))
    if rng.random() < 0.5:
        del proto.graph.node[at]
    else:
        proto.graph.node.append(proto.graph.node[at])


def _opset(proto: onnx.ModelProto, rng: random.Random) -> None:
    proto.opset_import[0].version = rng.choice([-1, 0, 1, 6, 9, 11, 13, 18, 21, 10 ** 9])


MUTATIONS: list[Callable[[onnx.ModelProto, random.Random], None]] = [
    *[_attribute] * 3, *[_dims] * 2, _dtype, _content, *[_operator] * 2, *[_wire] * 2, *[_count] * 2,
    _nodes, _opset]


def structural(seed: int) -> bytes:
    """The unit with one to three parts changed."""
    rng = random.Random(seed)
    proto = unit()
    for _ in range(rng.randint(1, 3)):
        rng.choice(MUTATIONS)(proto, rng)
    return proto.SerializeToString()


def bytewise(seed: int) -> bytes:
    """The unit with a few bytes changed."""
    rng = random.Random(seed)
    data = bytearray(unit().SerializeToString())
    for _ in range(rng.randint(1, 4)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data)


def split_that_aborts() -> bytes:
    """More outputs than num_outputs announces: onnxruntime 1.32.0 ends with SIGABRT."""
    proto = unit()
    split = next(node for node in proto.graph.node if node.op_type == 'Split')
    del split.input[1]
    split.attribute.append(helper.make_attribute('num_outputs', 1))
    proto.opset_import[0].version = 18
    # Opset 18 moved the axes of ReduceMean to an input.
    mean = next(node for node in proto.graph.node if node.op_type == 'ReduceMean')
    del mean.attribute[:]
    return proto.SerializeToString()


def _after_logits(nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray]) -> bytes:
    """The unit with `nodes` after its `logits`; the output is `answer`."""
    proto = unit()
    extra = model(nodes, [], [], constants)
    proto.graph.node.extend(extra.graph.node)
    proto.graph.initializer.extend(extra.graph.initializer)
    del proto.graph.output[:]
    proto.graph.output.append(value('answer', TensorProto.FLOAT, [1, CLASSES]))
    return proto.SerializeToString()


def allocates_64_gb() -> bytes:
    """ConstantOfShape with 2**34 floats, summed and added to the logits."""
    make = helper.make_node
    return _after_logits([make('ConstantOfShape', ['huge'], ['zeros']),
                          make('ReduceSum', ['zeros'], ['sum'], keepdims=0),
                          make('Add', ['logits', 'sum'], ['answer'])], {'huge': np.array([2 ** 34])})


def runs_for_hours() -> bytes:
    """10,000 products of matrices of 4096 x 4096, and no loop, which reading the file would reject."""
    make, rounds = helper.make_node, 10_000
    products = [make('MatMul', [f'x{i}', 'x0'], [f'x{i + 1}']) for i in range(rounds)]
    return _after_logits([
        make('ReduceSum', ['logits'], ['one'], keepdims=0),
        make('Expand', ['one', 'size'], ['x0']),
        *products,
        make('ReduceSum', [f'x{rounds}'], ['sum'], keepdims=0),
        make('Add', ['logits', 'sum'], ['answer']),
    ], {'size': np.array([4096, 4096])})


def gives_nan() -> bytes:
    """logits / 0 * 0."""
    make = helper.make_node
    return _after_logits(
        [make('Mul', ['logits', 'zero'], ['nothing']), make('Div', ['nothing', 'zero'], ['answer'])],
        {'zero': np.zeros((), np.float32)},
    )
