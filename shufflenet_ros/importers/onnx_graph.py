# SPDX-License-Identifier: Apache-2.0
"""Read the layers of an ONNX classifier as float tensors, in the graph's order."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from shufflenet_ros.bundles.onnx_write import import_onnx
from shufflenet_ros.zoo.errors import ZooError

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Conv:
    """A convolution.

    Attributes:
        weight: (out, in / groups, h, w) float32.
        bias: (out,) float32.
        norm: weight, bias, mean and variance, (out,) float32, of the BN that follows, unless it is folded.
        eps: of that BN.
    """

    weight: Array
    bias: Array
    stride: int
    groups: int
    norm: list[Array]
    eps: float


@dataclass(frozen=True)
class OnnxLayers:
    """The layers of a graph.

    Attributes:
        convs: in the graph's order, which in ONNX is an order of execution.
        fc_weight, fc_bias: of the last linear layer, (classes, features) and (classes,) float32.
        mean: subtracted from the image before the first convolution, (3,), or None.
        quantized: some weights were 8-bit integers.
        logits: name of the graph's first output.
        size: (height, width) of the graph's NCHW input, 0 if open.
    """

    convs: list[Conv]
    fc_weight: Array
    fc_bias: Array
    mean: Array | None
    quantized: bool
    logits: str
    size: tuple[int, int]


class _Graph:
    """Nodes, constants by name, and the nodes that read each name."""

    def __init__(self, graph: Any, what: str):
        onnx = import_onnx()
        self.what = what
        self.nodes = list(graph.node)
        self.constants: dict[str, Array] = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
        self.readers: dict[str, list[Any]] = {}
        for node in self.nodes:
            if node.op_type == 'Constant' and node.attribute and node.attribute[0].name == 'value':
                self.constants[node.output[0]] = onnx.numpy_helper.to_array(node.attribute[0].t)
            elif node.op_type == 'Identity' and node.input[0] in self.constants:
                self.constants[node.output[0]] = self.constants[node.input[0]]
            for name in node.input:
                self.readers.setdefault(name, []).append(node)

    def constant(self, node: Any, index: int) -> Array:
        name = node.input[index] if index < len(node.input) else ''
        if name not in self.constants:
            raise ZooError(f'{self.what}: input {index} ({name!r}) of {node.op_type} {node.name!r} is '
                           'computed: expected weights as constants; export the model without training mode')
        return self.constants[name]

    def optional(self, node: Any, index: int) -> Array | None:
        return self.constant(node, index) if index < len(node.input) and node.input[index] else None

    def attribute(self, node: Any, name: str, default: Any) -> Any:
        value_of = import_onnx().helper.get_attribute_value
        return next((value_of(a) for a in node.attribute if a.name == name), default)

    def only_reader(self, node: Any, kind: str) -> Any | None:
        """The only node that reads this one's output, if it is of this kind."""
        readers = self.readers.get(node.output[0], [])
        return readers[0] if len(readers) == 1 and readers[0].op_type == kind else None


def read_layers(data: bytes, what: str) -> OnnxLayers:
    """Read a graph of convolutions and one linear layer.

    Args:
        data: the ONNX file.
        what: its name, for errors.

    Raises:
        ZooError: not ONNX, no convolution, no linear layer, or weights that are computed.
        ModuleNotFoundError: the onnx package is missing.
    """
    onnx = import_onnx()
    try:
        proto = onnx.load_from_string(data).graph
    except Exception as error:  # protobuf's own errors differ by its version
        raise ZooError(f'{what}: expected a valid ONNX model ({error}); get it again') from error
    graph = _Graph(proto, what)
    convs = [_CONVS[node.op_type](graph, node) for node in graph.nodes if node.op_type in _CONVS]
    linear = [node for node in graph.nodes if node.op_type in _LINEAR and node.input[-1]]
    if not convs or not linear:
        raise ZooError(f'{what}: has {len(convs)} convolutions and {len(linear)} linear layers: expected a '
                       f'classifier with {", ".join([*_CONVS, *_LINEAR])}; export it to such operators')
    weight, bias = _LINEAR[linear[-1].op_type](graph, linear[-1])
    bias = np.zeros(len(weight)) if bias is None else bias
    return OnnxLayers(
        convs, weight.astype(np.float32), np.ravel(bias).astype(np.float32), _mean(graph),
        any(node.op_type.startswith('QLinear') for node in graph.nodes), proto.output[0].name,
        _size(proto, graph.constants))


def _dequantized(values: Array, scale: Array, zero: Array | int, axis: int) -> Array:
    """(q - zero) * scale in float64. scale and zero: one value, or one for each slice along the axis."""
    shape = [-1 if i == axis else 1 for i in range(values.ndim)]
    scales, zeros = (np.asarray(x, np.float64).reshape(shape) for x in (scale, zero))
    return (values.astype(np.float64) - zeros) * scales


def _conv(graph: _Graph, node: Any) -> Conv:
    bn = graph.only_reader(node, 'BatchNormalization')
    return _make_conv(graph, node, graph.constant(node, 1), graph.optional(node, 2), bn)


def _qlinear_conv(graph: _Graph, node: Any) -> Conv:
    x_scale, w_scale = graph.constant(node, 1), graph.constant(node, 4)
    weight = _dequantized(graph.constant(node, 3), w_scale, graph.constant(node, 5), 0)
    bias = graph.optional(node, 8)
    scale = x_scale.astype(np.float64) * w_scale.astype(np.float64)
    return _make_conv(graph, node, weight, None if bias is None else bias * scale)


def _make_conv(graph: _Graph, node: Any, weight: Array, bias: Array | None, bn: Any | None = None) -> Conv:
    strides = graph.attribute(node, 'strides', [1, 1])
    if weight.ndim != 4 or len(set(strides)) != 1 or set(graph.attribute(node, 'dilations', [1])) != {1}:
        raise ZooError(f'{graph.what}: {node.op_type} {node.name!r} has a weight of shape '
                       f'{list(weight.shape)} and strides {list(strides)}: expected plain 2-D convolutions; '
                       'use another network')
    bias = np.zeros(len(weight)) if bias is None else bias
    norm = [graph.constant(bn, i).astype(np.float32) for i in range(1, 5)] if bn else []
    eps = float(graph.attribute(bn, 'epsilon', 1e-5)) if bn else 0.0
    return Conv(weight.astype(np.float32), np.broadcast_to(bias, len(weight)).astype(np.float32),
                int(strides[0]), int(graph.attribute(node, 'group', 1)), norm, eps)


_Linear = tuple[Array, Array | None]


def _gemm(graph: _Graph, node: Any) -> _Linear:
    weight, bias = graph.constant(node, 1), graph.optional(node, 2)
    if not graph.attribute(node, 'transB', 0):
        weight = weight.T
    return (weight * graph.attribute(node, 'alpha', 1.0),
            None if bias is None else bias * graph.attribute(node, 'beta', 1.0))


def _matmul(graph: _Graph, node: Any) -> _Linear:
    add = graph.only_reader(node, 'Add')
    bias = None if add is None else graph.constant(add, 1 if add.input[0] == node.output[0] else 0)
    return graph.constant(node, 1).T, bias


def _qlinear_matmul(graph: _Graph, node: Any) -> _Linear:
    weight = _dequantized(graph.constant(node, 3), graph.constant(node, 4), graph.constant(node, 5), 1).T
    add = graph.only_reader(node, 'QLinearAdd')
    if add is None:
        return weight, None
    first = 3 if add.input[0] == node.output[0] else 0
    values, scale, zero = (graph.constant(add, first + i) for i in range(3))
    return weight, _dequantized(values, scale, zero, 0)


_CONVS: Mapping[str, Callable[[_Graph, Any], Conv]] = {'Conv': _conv, 'QLinearConv': _qlinear_conv}
_LINEAR: Mapping[str, Callable[[_Graph, Any], _Linear]] = {
    'Gemm': _gemm, 'MatMul': _matmul, 'QLinearMatMul': _qlinear_matmul}


def _mean(graph: _Graph) -> Array | None:
    """The constant of three values that a Sub before the first convolution subtracts from the image."""
    for node in graph.nodes:
        if node.op_type in _CONVS:
            return None
        if node.op_type == 'Sub' and graph.constants.get(node.input[1], np.empty(0)).size == 3:
            return np.asarray(graph.constants[node.input[1]].reshape(3), np.float32)
    return None


def _size(proto: Any, constants: Mapping[str, Array]) -> tuple[int, int]:
    inputs = [value for value in proto.input if value.name not in constants]
    sides = [d.dim_value for d in inputs[0].type.tensor_type.shape.dim] if inputs else []
    return (sides[2], sides[3]) if len(sides) == 4 and sides[1] == 3 else (0, 0)
