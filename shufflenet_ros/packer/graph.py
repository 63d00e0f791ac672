# SPDX-License-Identifier: Apache-2.0
"""Read a bundle's ONNX graph into a network for the native kernels: exactly, or not at all.

Batch normalization, the frame's scale and mean, ReLUs, sums and the stem's pool are folded into
convolutions. Shuffle, split and concatenation only rearrange channels. Needs the onnx package
(extra `export`).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from shufflenet_ros.bundles.onnx_file import read_summary
from shufflenet_ros.bundles.onnx_write import import_onnx
from shufflenet_ros.core.card import CardInput
from shufflenet_ros.packer.assign_maps import assign_maps
from shufflenet_ros.packer.layers import Layers, Logits, Pixels, Pooled, Tensor
from shufflenet_ros.packer.network import Array, Network, UnsupportedGraphError
from shufflenet_ros.packer.onnx_node import Node
from shufflenet_ros.packer.operators import apply_operator

SIDES = range(64, 513, 32)


def read_network(data: bytes, spec: CardInput, outputs: Mapping[str, str]) -> Network:
    """Read a graph into a network in fp32.

    Args:
        data: the bundle's file.
        spec: the input, from the card.
        outputs: names of the outputs `logits` and, if there is one, `embedding`.

    Raises:
        UnsupportedGraphError: names the node that the kernels cannot compute exactly, and why.
        ModuleNotFoundError: the onnx package is missing.
    """
    _check_spec(spec)
    onnx = import_onnx()
    try:
        graph = onnx.load_from_string(data).graph
    except Exception as error:  # protobuf's own errors differ by its version
        raise UnsupportedGraphError(f'is not a valid ONNX model ({error})') from error
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    frame = _frame_name(graph, constants, spec)
    nodes = [_read_node(node, constants) for node in graph.node]
    layers = Layers()
    values: dict[str, Tensor] = {frame: Pixels('NHWC', False, np.ones(3), np.zeros(3), spec.size)}
    for node in _needed(nodes, set(outputs.values())):
        inputs = [values[name] for name in node.inputs if name in values]
        try:
            values |= zip(node.outputs, apply_operator(node, layers, inputs))
        except (ValueError, IndexError) as error:  # an unsupported case, or shapes that NumPy rejects
            raise UnsupportedGraphError(f'{node.kind} {node.name!r}: {error}') from error
    _check_outputs(values, outputs, layers)
    return assign_maps(layers, spec.size, read_summary(data).graph_sha256)


def _check_spec(spec: CardInput) -> None:
    if (spec.layout, spec.dtype) != ('NHWC', 'uint8'):
        raise UnsupportedGraphError(
            f'an input of {spec.layout} {spec.dtype}: expected NHWC uint8, the bytes of a camera')
    if not all(side in SIDES for side in spec.size):
        raise UnsupportedGraphError(
            f'a frame of {spec.size[0]}x{spec.size[1]}: expected sides that are multiples of 32 from '
            f'{SIDES[0]} to {SIDES[-1]}')


def _read_node(proto: Any, constants: dict[str, Array]) -> Node:
    """A node. If it is only a constant, add it to the constants."""
    onnx = import_onnx()
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in proto.attribute}
    kind = proto.op_type if proto.domain in ('', 'ai.onnx') else f'{proto.domain}.{proto.op_type}'
    if kind == 'Constant' and 'value' in attributes:
        constants[proto.output[0]] = onnx.numpy_helper.to_array(attributes['value'])
    elif kind == 'Identity' and proto.input[0] in constants:
        constants[proto.output[0]] = constants[proto.input[0]]
    name = proto.name or ', '.join(proto.output)
    return Node(kind, name, tuple(proto.input), tuple(proto.output), attributes, constants)


def _frame_name(graph: Any, constants: Mapping[str, Array], spec: CardInput) -> str:
    """Name of the graph's input."""
    inputs = [value for value in graph.input if value.name not in constants]
    types = [value.type.tensor_type for value in inputs]
    shapes = [tuple(d.dim_value or d.dim_param or '?' for d in kind.shape.dim) for kind in types]
    if shapes != [spec.shape]:
        raise UnsupportedGraphError(f'inputs of shapes {shapes}: expected one of {spec.shape}')
    if types[0].elem_type != import_onnx().TensorProto.UINT8:
        raise UnsupportedGraphError('an input that is not uint8: expected the bytes of a camera')
    return str(inputs[0].name)


def _needed(nodes: list[Node], names: set[str]) -> list[Node]:
    """The nodes that compute these names, in order."""
    needed = []
    for node in reversed(nodes):
        if names & set(node.outputs) and node.outputs[0] not in node.constants:
            needed.append(node)
            names = names | set(node.inputs)
    return needed[::-1]


def _check_outputs(values: Mapping[str, Tensor], outputs: Mapping[str, str], layers: Layers) -> None:
    logits = values.get(outputs['logits'])
    if not isinstance(logits, Logits):
        raise UnsupportedGraphError(f'the output {outputs["logits"]!r} does not come from a linear layer')
    stem, head = layers.all[0], layers.all[-1]
    if not stem.relu:
        raise UnsupportedGraphError('no ReLU follows the first convolution or its pool')
    if head.kind != 'head' or not np.array_equal(logits.ids, head.ids):
        raise UnsupportedGraphError(f'the output {outputs["logits"]!r} does not come from the last layer')
    if 'embedding' in outputs:
        embedding = values.get(outputs['embedding'])
        if not isinstance(embedding, Pooled) or not np.array_equal(layers.read(embedding.ids), head.reads):
            raise UnsupportedGraphError(
                f'the output {outputs["embedding"]!r} is not the input of the linear layer')
