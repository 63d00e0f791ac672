"""A bundle's ONNX graph to a network for our own kernels, by walking it: exactly, or not at all.

Batch normalization, the frame's scaling and mean, ReLUs, sums and the stem's pool are folded into
convolutions; shuffle, split and concatenation only say where channels lie. Needs the onnx package
(extra `export`).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from shufflenet_ros.bundles.onnx_file import read_facts
from shufflenet_ros.bundles.onnx_write import import_onnx
from shufflenet_ros.core.card import CardInput
from shufflenet_ros.packer.errors import UnsupportedGraphError
from shufflenet_ros.packer.layers import Layers
from shufflenet_ros.packer.network import Array, Network
from shufflenet_ros.packer.node import Node
from shufflenet_ros.packer.operators import OPERATORS
from shufflenet_ros.packer.place_maps import place
from shufflenet_ros.packer.values import Pixels, Pooled, Logits, Value

SIDES = range(64, 513, 32)


def read_network(data: bytes, spec: CardInput, outputs: Mapping[str, str]) -> Network:
    """Take the graph apart.

    Args:
        data: the bundle's file, already known to be ONNX.
        spec: of its card.
        outputs: names of the outputs `logits` and, where there is one, `embedding`.

    Returns:
        The network in fp32.

    Raises:
        UnsupportedGraphError: names the node that our kernels cannot compute exactly, and why.
        ModuleNotFoundError: the onnx package is missing.
    """
    onnx = import_onnx()
    _check_input(spec)
    try:
        graph = onnx.load_from_string(data).graph
    except Exception as error:  # protobuf's own errors differ by its version
        raise UnsupportedGraphError(f'expected an ONNX model, got bytes that are none ({error})') from error
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    nodes = [_node(node, constants) for node in graph.node]
    frame = _frame(graph, constants, spec)
    layers = Layers()
    values: dict[str, Value] = {frame: Pixels('NHWC', False, np.ones(3), np.zeros(3), spec.size)}
    for node in _needed(nodes, set(outputs.values())):
        _take(node, values, layers)
    _check_outputs(values, outputs, layers)
    return place(layers, spec.size, read_facts(data).graph_sha256)


def _check_input(spec: CardInput) -> None:
    if (spec.layout, spec.dtype) != ('NHWC', 'uint8'):
        raise UnsupportedGraphError(f'an input of {spec.layout} {spec.dtype}: expected NHWC uint8, the bytes of a camera')
    if not all(side in SIDES for side in spec.size):
        raise UnsupportedGraphError(f'a frame of {spec.size[0]}x{spec.size[1]}: expected sides that are multiples of 32 '
                       f'from {SIDES[0]} to {SIDES[-1]}')


def _node(proto: Any, constants: dict[str, Array]) -> Node:
    """A node; one that only holds a constant is added to the constants."""
    onnx = import_onnx()
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in proto.attribute}
    node = Node(proto.op_type if proto.domain in ('', 'ai.onnx') else f'{proto.domain}.{proto.op_type}',
                proto.name or ', '.join(proto.output), tuple(proto.input), tuple(proto.output), attributes,
                constants)
    if node.kind == 'Constant' and 'value' in attributes:
        constants[node.outputs[0]] = onnx.numpy_helper.to_array(attributes['value'])
    elif node.kind == 'Identity' and node.inputs[0] in constants:
        constants[node.outputs[0]] = constants[node.inputs[0]]
    return node


def _frame(graph: Any, constants: Mapping[str, Array], spec: CardInput) -> str:
    """Name of the graph's input."""
    inputs = [value for value in graph.input if value.name not in constants]
    tensors = [value.type.tensor_type for value in inputs]
    shapes = [tuple(d.dim_value or d.dim_param or '?' for d in tensor.shape.dim) for tensor in tensors]
    if shapes != [spec.shape]:
        raise UnsupportedGraphError(f"the graph's inputs have the shapes {shapes}: expected one of {spec.shape}")
    if tensors[0].elem_type != import_onnx().TensorProto.UINT8:
        raise UnsupportedGraphError("the graph's input is no uint8: expected the bytes of a camera")
    return str(inputs[0].name)


def _needed(nodes: list[Node], names: set[str]) -> list[Node]:
    """The nodes that these names are computed from, in order."""
    needed = []
    for node in reversed(nodes):
        if names & set(node.outputs) and node.outputs[0] not in node.constants:
            needed.append(node)
            names = names | set(node.inputs)
    return needed[::-1]


def _take(node: Node, values: dict[str, Value], layers: Layers) -> None:
    """Add what a node gives to the values."""
    try:
        if node.kind not in OPERATORS:
            raise UnsupportedGraphError('is an operator that our kernels do not have')
        given = [values[name] for name in node.inputs if name in values]
        made = OPERATORS[node.kind](node, given, layers)
    except (ValueError, IndexError) as error:  # UnsupportedGraphError, and what NumPy says of shapes that do not fit
        raise UnsupportedGraphError(f'{node.kind} {node.name!r}: {error}') from error
    values |= zip(node.outputs, made)


def _check_outputs(values: Mapping[str, Value], outputs: Mapping[str, str], layers: Layers) -> None:
    logits = values.get(outputs['logits'])
    if not isinstance(logits, Logits):
        raise UnsupportedGraphError(f"the graph's output {outputs['logits']!r} is not what a linear layer gives")
    stem, head = layers.done[0], layers.done[-1]
    if not stem.relu:
        raise UnsupportedGraphError('no ReLU follows the first convolution, alone or behind its pool')
    if head.kind != 'head' or not np.array_equal(logits.ids, head.ids):
        raise UnsupportedGraphError(f"the graph's output {outputs['logits']!r} is not what its last layer gives")
    embedding = values.get(outputs.get('embedding', ''))
    if 'embedding' in outputs and not (isinstance(embedding, Pooled)
                                       and np.array_equal(layers.read(embedding.ids), head.reads)):
        raise UnsupportedGraphError(f"the graph's output {outputs['embedding']!r} is not what the linear layer takes")
