"""The layers of somebody's ONNX graph as float tensors, in the graph's order."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from shufflenet_ros.bundles.onnx_write import import_onnx
from shufflenet_ros.zoo.errors import ZooError

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Norm:
    """A BatchNormalization: y = (x - mean) / sqrt(var + eps) * weight + bias, each (C,) float32."""

    weight: Array
    bias: Array
    mean: Array
    var: Array
    eps: float


@dataclass(frozen=True)
class Conv:
    """A convolution.

    Attributes:
        weight: (out, in / groups, h, w) float32.
        bias: (out,) float32.
        norm: the BN that follows, where it isn't folded.
    """

    weight: Array
    bias: Array
    stride: int
    groups: int
    norm: Norm | None


@dataclass(frozen=True)
class OnnxLayers:
    """What the graph has to give.

    Attributes:
        convs: in the graph's order, which ONNX demands to be one of execution.
        fc_weight, fc_bias: of the last linear layer, (classes, features) and (classes,) float32.
        mean: what is subtracted from the image before the first convolution, (3,), or None.
        quantized: some weights were 8-bit integers.
        logits: name of the graph's first output.
        size: (height, width) that the graph's input declares for NCHW, 0 where it leaves them open.
    """

    convs: list[Conv]
    fc_weight: Array
    fc_bias: Array
    mean: Array | None
    quantized: bool
    logits: str
    size: tuple[int, int]


class _Graph:
    """Nodes and constants by name."""

    def __init__(self, graph: Any, what: str):
        onnx = import_onnx()
        self.what = what
        self.nodes = list(graph.node)
        self.constants: dict[str, Array] = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
        for node in self.nodes:
            if node.op_type == 'Constant' and node.attribute and node.attribute[0].name == 'value':
                self.constants[node.output[0]] = onnx.numpy_helper.to_array(node.attribute[0].t)
            elif node.op_type == 'Identity' and node.input[0] in self.constants:
                self.constants[node.output[0]] = self.constants[node.input[0]]
        self.users: dict[str, list[Any]] = {}
        for node in self.nodes:
            for name in node.input:
                self.users.setdefault(name, []).append(node)
        self._value = onnx.helper.get_attribute_value

    def constant(self, node: Any, index: int) -> Array:
        name = node.input[index] if index < len(node.input) else ''
        if name not in self.constants:
            raise ZooError(f'{self.what}: input {index} ({name!r}) of {node.op_type} {node.name!r} is '
                           'computed: expected weights as constants; export the model without training mode')
        return self.constants[name]

    def optional(self, node: Any, index: int) -> Array | None:
        return self.constant(node, index) if index < len(node.input) and node.input[index] else None

    def attribute(self, node: Any, name: str, default: Any) -> Any:
        found = [self._value(a) for a in node.attribute if a.name == name]
        return found[0] if found else default

    def only_user(self, node: Any, kinds: tuple[str, ...]) -> Any | None:
        users = self.users.get(node.output[0], [])
        return users[0] if len(users) == 1 and users[0].op_type in kinds else None


def _dequantized(values: Array, scale: Array, zero: Array | int, axis: int) -> Array:
    """(q - zero) * scale in float64; scale of one value, or of one a slice of the axis."""
    shape = [1] * values.ndim
    if scale.size > 1:
        shape[axis] = -1
    zeros = np.asarray(zero, np.float64)
    zeros = zeros.reshape(shape if zeros.size > 1 else [1] * values.ndim)
    scales = scale.astype(np.float64).reshape(shape if scale.size > 1 else [1] * values.ndim)
    return (values.astype(np.float64) - zeros) * scales


def _conv(graph: _Graph, node: Any) -> Conv:
    weight = graph.constant(node, 1)
    bias = graph.optional(node, 2)
    norm_node = graph.only_user(node, ('BatchNormalization',))
    norm = None
    if norm_node is not None:
        weight_bn, bias_bn, mean, var = (graph.constant(norm_node, i).copy() for i in range(1, 5))
        norm = Norm(weight_bn, bias_bn, mean, var, float(graph.attribute(norm_node, 'epsilon', 1e-5)))
    return _make(graph, node, weight, np.zeros(len(weight)) if bias is None else bias, norm)


def _qlinear_conv(graph: _Graph, node: Any) -> Conv:
    x_scale, w_scale = graph.constant(node, 1), graph.constant(node, 4)
    weight = _dequantized(graph.constant(node, 3), w_scale, graph.constant(node, 5), 0)
    bias = graph.optional(node, 8)
    scale = x_scale.astype(np.float64) * w_scale.astype(np.float64)
    return _make(graph, node, weight, np.zeros(len(weight)) if bias is None else bias * scale, None)


def _make(graph: _Graph, node: Any, weight: Array, bias: Array, norm: Norm | None) -> Conv:
    strides = graph.attribute(node, 'strides', [1, 1])
    if weight.ndim != 4 or len(set(strides)) != 1 or set(graph.attribute(node, 'dilations', [1])) != {1}:
        raise ZooError(f'{graph.what}: {node.op_type} {node.name!r} has a weight of shape '
                       f'{list(weight.shape)} and strides {list(strides)}: expected plain 2-D convolutions; '
                       'use another network')
    return Conv(weight.astype(np.float32), np.broadcast_to(bias, len(weight)).astype(np.float32),
                int(strides[0]), int(graph.attribute(node, 'group', 1)), norm)


def _gemm(graph: _Graph, node: Any) -> tuple[Array, Array]:
    weight, bias = graph.constant(node, 1), graph.optional(node, 2)
    if not graph.attribute(node, 'transB', 0):
        weight = weight.T
    weight = weight * graph.attribute(node, 'alpha', 1.0)
    if bias is None:
        return weight, np.zeros(len(weight))
    return weight, bias * graph.attribute(node, 'beta', 1.0)


def _added(graph: _Graph, node: Any, kind: str) -> Any | None:
    """The addition after a matrix product that adds a constant."""
    return graph.only_user(node, (kind,))


def _matmul(graph: _Graph, node: Any) -> tuple[Array, Array]:
    weight = graph.constant(node, 1).T
    add = _added(graph, node, 'Add')
    if add is None:
        return weight, np.zeros(len(weight))
    return weight, graph.constant(add, 1 if add.input[0] == node.output[0] else 0)


def _qlinear_matmul(graph: _Graph, node: Any) -> tuple[Array, Array]:
    weight = _dequantized(graph.constant(node, 3), graph.constant(node, 4), graph.constant(node, 5), 1).T
    add = _added(graph, node, 'QLinearAdd')
    if add is None:
        return weight, np.zeros(len(weight))
    first = 3 if add.input[0] == node.output[0] else 0
    values, scale, zero = (graph.constant(add, first + i) for i in range(3))
    return weight, _dequantized(values, scale, zero, 0)


_CONVS: Mapping[str, Callable[[_Graph, Any], Conv]] = {'Conv': _conv, 'QLinearConv': _qlinear_conv}
_LINEAR: Mapping[str, Callable[[_Graph, Any], tuple[Array, Array]]] = {
    'Gemm': _gemm, 'MatMul': _matmul, 'QLinearMatMul': _qlinear_matmul}


def read_layers(data: bytes, what: str) -> OnnxLayers:
    """Parse a graph of convolutions and one linear layer.

    Args:
        data: the ONNX file, already known to be one.
        what: its name, for errors.

    Raises:
        ZooError: it has no convolution, no linear layer, or weights that are computed.
        ModuleNotFoundError: the onnx package is missing.
    """
    onnx = import_onnx()
    try:
        proto = onnx.load_from_string(data).graph
    except Exception as error:  # protobuf's own errors differ by its version
        raise ZooError(f'{what}: expected an ONNX model, got bytes that are none ({error}); get it again'
                       ) from error
    graph = _Graph(proto, what)
    convs = [_CONVS[node.op_type](graph, node) for node in graph.nodes if node.op_type in _CONVS]
    linear = [node for node in graph.nodes if node.op_type in _LINEAR and node.input[-1]]
    if not convs or not linear:
        raise ZooError(f'{what}: has {len(convs)} convolutions and {len(linear)} linear layers: expected a '
                       f'classifier with {", ".join([*_CONVS, *_LINEAR])}; export it to such operators')
    weight, bias = _LINEAR[linear[-1].op_type](graph, linear[-1])
    return OnnxLayers(
        convs, weight.astype(np.float32), np.ravel(bias).astype(np.float32), _mean(graph),
        any(node.op_type.startswith('QLinear') for node in graph.nodes), proto.output[0].name, _size(proto))


def _mean(graph: _Graph) -> Array | None:
    """The constant of three values that a Sub before the first convolution takes from the image."""
    for node in graph.nodes:
        if node.op_type in _CONVS:
            return None
        if node.op_type == 'Sub' and graph.constants.get(node.input[1], np.empty(0)).size == 3:
            return np.asarray(graph.constants[node.input[1]].reshape(3), np.float32)
    return None


def _size(proto: Any) -> tuple[int, int]:
    constants = {tensor.name for tensor in proto.initializer}
    inputs = [value for value in proto.input if value.name not in constants]
    sides = [d.dim_value for d in inputs[0].type.tensor_type.shape.dim] if inputs else []
    return (sides[2], sides[3]) if len(sides) == 4 and sides[1] == 3 else (0, 0)
