# SPDX-License-Identifier: Apache-2.0
"""One function for each ONNX operator that the kernels compute, or that only rearranges channels."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from shufflenet_ros.packer.convolutions import average_pool, convolution, max_pool
from shufflenet_ros.packer.layers import Floats, Layer, Layers, Logits, Pixels, Planes, Pooled, Tensor
from shufflenet_ros.packer.network import UnsupportedGraphError
from shufflenet_ros.packer.onnx_node import Node, per_channel

_FLOAT = 1  # TensorProto.FLOAT
Operator: TypeAlias = Callable[..., Tensor | list[Tensor]]


def apply_operator(node: Node, layers: Layers, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Compute a node's outputs from the inputs that are not constants.

    Raises:
        UnsupportedGraphError: no such operator here, inputs of another kind, or a case that isn't exact.
    """
    if node.kind not in _OPERATORS:
        raise UnsupportedGraphError('is an operator that the native kernels do not have')
    operator, kinds = _OPERATORS[node.kind]
    counts = {'Concat': [len(node.inputs)], 'Add': [1, 2]}.get(node.kind, [1])
    if len(inputs) not in counts or not all(isinstance(value, kinds) for value in inputs):
        names = ', '.join(type(value).__name__.lower() for value in inputs) or 'constants'
        raise UnsupportedGraphError(
            f'works on {names}: expected {" or ".join(kind.__name__.lower() for kind in kinds)}')
    outputs = operator(node, layers, *inputs)
    return outputs if isinstance(outputs, list) else [outputs]


def _unchanged(node: Node, layers: Layers, value: Tensor) -> Tensor:
    return value


def _cast(node: Node, layers: Layers, value: Pixels) -> Tensor:
    if node.get('to', 0) != _FLOAT:
        raise UnsupportedGraphError('casts to another type than float32')
    return replace(value, is_float=True)


def _transpose(node: Node, layers: Layers, value: Pixels | Planes) -> Tensor:
    perm = list(node.get('perm', []))
    if isinstance(value, Pixels):
        if value.axes != 'NHWC' or perm != [0, 3, 1, 2]:
            raise UnsupportedGraphError(f'transposes the frame by {perm}: expected [0, 3, 1, 2], once')
        return replace(value, axes='NCHW')
    lead = value.ids.ndim
    if perm[lead:] != list(range(lead, len(value.shape))) or not perm:
        raise UnsupportedGraphError(f'moves pixels (axes {perm}): expected to move channels only')
    return replace(value, ids=value.ids.transpose(perm[:lead]))


def _reshape(node: Node, layers: Layers, value: Planes | Pooled) -> Tensor:
    if isinstance(value, Pooled):
        return value
    shape = node.integers(1)
    if 0 in shape and not node.get('allowzero', 0):
        shape = [value.shape[i] if n == 0 and i < len(value.shape) else n for i, n in enumerate(shape)]
    if -1 in shape:
        rest = int(np.prod(value.shape)) // max(1, -int(np.prod(shape)))
        shape = [rest if n == -1 else n for n in shape]
    for lead in range(1, len(shape)):
        planes = tuple(shape[lead:])
        same = int(np.prod(shape[:lead])) == value.ids.size
        if same and planes in (value.size, (int(np.prod(value.size)),)):
            return Planes(value.ids.reshape(shape[:lead]), value.size, len(planes) == 1)
    raise UnsupportedGraphError(f'from {list(value.shape)} to {shape} splits planes')


def _channel_axis(value: Planes, axis: int) -> int:
    axis += len(value.shape) if axis < 0 else 0
    if axis >= value.ids.ndim:
        raise UnsupportedGraphError(f'works along axis {axis}, an axis of pixels: expected one of channels')
    return axis


def _concat(node: Node, layers: Layers, *values: Planes) -> Tensor:
    if len({value.shape[value.ids.ndim:] for value in values}) != 1:
        raise UnsupportedGraphError('joins planes of different sizes')
    axis = _channel_axis(values[0], node.get('axis', 0))
    return replace(values[0], ids=np.concatenate([value.ids for value in values], axis))


def _note_split(layers: Layers, value: Planes) -> None:
    layers.split_tensors.append(layers.read(value.channels))


def _split(node: Node, layers: Layers, value: Planes) -> list[Tensor]:
    axis = _channel_axis(value, node.get('axis', 0))
    count, parts = value.ids.shape[axis], len(node.outputs)
    explicit = len(node.inputs) > 1 or 'split' in node.attributes
    sizes = node.integers(1, 'split') if explicit else [count // parts] * parts
    if sum(sizes) != count:
        raise UnsupportedGraphError(f'splits {count} channels into {sizes}')
    _note_split(layers, value)
    return [replace(value, ids=part) for part in np.split(value.ids, np.cumsum(sizes)[:-1].tolist(), axis)]


def _slice(node: Node, layers: Layers, value: Planes) -> Tensor:
    starts, ends = node.integers(1, 'starts'), node.integers(2, 'ends')
    explicit = len(node.inputs) > 3 or 'axes' in node.attributes
    axes = node.integers(3, 'axes') if explicit else [*range(len(starts))]
    steps = node.integers(4) if len(node.inputs) > 4 else [1] * len(starts)
    ids = value.ids
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step < 1:
            raise UnsupportedGraphError('slices backwards')
        ids = ids[(slice(None),) * _channel_axis(value, axis) + (slice(start, end, step),)]
    _note_split(layers, value)
    return replace(value, ids=ids)


def _gather(node: Node, layers: Layers, value: Planes) -> Tensor:
    indices = node.constant(1)
    assert indices is not None
    _note_split(layers, value)
    return replace(value, ids=np.take(value.ids, indices, _channel_axis(value, node.get('axis', 0))))


def _relu(node: Node, layers: Layers, value: Planes) -> Tensor:
    return replace(value, ids=layers.relu(value.channels).reshape(value.ids.shape))


def _add(node: Node, layers: Layers, *values: Pixels | Planes | Logits) -> Tensor:
    if len(values) == 1:
        return _arithmetic(node, layers, values[0])
    one, other = values
    if not isinstance(one, Planes) or not isinstance(other, Planes) or one.shape != other.shape:
        shapes = ' and '.join(str(list(value.shape)) if isinstance(value, Planes)
                              else type(value).__name__.lower() for value in values)
        raise UnsupportedGraphError(f'adds {shapes}: expected planes of the same shape')
    return replace(one, ids=layers.add(one.channels, other.channels).reshape(one.ids.shape))


def _channels(value: Pixels | Planes | Logits) -> tuple[int, int, int]:
    """How many channels a tensor has, their axis, and how many axes there are."""
    if isinstance(value, Logits):
        return len(value.ids), 1, 2
    if isinstance(value, Pixels):
        return 3, value.axes.index('C'), 4
    value.check_plain()
    return value.ids.size, 1, 4


def _arithmetic(node: Node, layers: Layers, value: Pixels | Planes | Logits) -> Tensor:
    """Add, Sub, Mul and Div with a constant."""
    index = 1 if node.inputs[0] not in node.constants else 0
    if index == 0 and node.kind in ('Sub', 'Div'):
        raise UnsupportedGraphError('subtracts from a constant, or divides one')
    constant = node.constant(index)
    assert constant is not None
    by = per_channel(constant, *_channels(value))
    if node.kind == 'Div' and not by.all():
        raise UnsupportedGraphError('divides by 0')
    one = np.ones_like(by)
    scale = {'Mul': by, 'Div': one / np.where(by == 0, 1, by)}.get(node.kind, one)
    shift = {'Add': by, 'Sub': -by}.get(node.kind, 0 * by)
    return _affine(layers, value, scale, shift)


def _affine(layers: Layers, value: Pixels | Planes | Logits, scale: Floats, shift: Floats) -> Tensor:
    if isinstance(value, Logits):
        return Logits(layers.affine(value.ids, scale, shift))
    if isinstance(value, Planes):
        return replace(value, ids=layers.affine(value.channels, scale, shift).reshape(value.ids.shape))
    if not value.is_float:
        raise UnsupportedGraphError('works on bytes: expected a cast to float before it')
    return replace(value, scale=value.scale * scale, shift=value.shift * scale + shift)


def _batch_normalization(node: Node, layers: Layers, value: Pixels | Planes) -> Tensor:
    weight, bias, mean, var = (node.weights(index) for index in range(1, 5))
    count, axis, _ = _channels(value)
    fits = all(values.shape == (count,) for values in (weight, bias, mean, var))
    if axis != 1 or not fits or node.get('training_mode', 0):
        raise UnsupportedGraphError(f'normalizes something other than {count} channels with fixed statistics')
    scale = weight / np.sqrt(var + node.get('epsilon', 1e-5))
    return _affine(layers, value, scale, bias - mean * scale)


def _mean(node: Node, layers: Layers, value: Planes) -> Tensor:
    value.check_plain()
    if node.kind == 'ReduceMean':
        axes = sorted(axis + (4 if axis < 0 else 0) for axis in node.integers(1, 'axes'))
        if axes != [2, 3]:
            raise UnsupportedGraphError(f'averages over the axes {axes}: expected [2, 3]')
    return Pooled(value.channels)


def _linear(node: Node, layers: Layers, value: Pooled) -> Tensor:
    """Gemm and MatMul."""
    weights = node.weights(1)
    if not node.get('transB', 0):
        weights = weights.T
    if node.get('transA', 0) or weights.shape[1:] != (len(value.ids),):
        raise UnsupportedGraphError(
            f'weights of {list(weights.shape)}: expected a linear layer of {len(value.ids)} means')
    bias = node.bias(2, len(weights)) * node.get('beta', 1.0)
    layer = Layer('head', layers.read(value.ids), weights * node.get('alpha', 1.0), bias, (1, 1))
    return Logits(layers.append(layer))


# ONNX operator -> function, and the kinds of tensors that it accepts
_OPERATORS: Mapping[str, tuple[Operator, tuple[type[Any], ...]]] = {
    'Identity': (_unchanged, (Pixels, Planes, Pooled, Logits)),
    'Dropout': (_unchanged, (Pixels, Planes, Pooled, Logits)),
    'Cast': (_cast, (Pixels,)),
    'Transpose': (_transpose, (Pixels, Planes)),
    'Reshape': (_reshape, (Planes, Pooled)),
    'Flatten': (_unchanged, (Pooled,)),
    'Squeeze': (_unchanged, (Pooled,)),
    'Concat': (_concat, (Planes,)),
    'Split': (_split, (Planes,)),
    'Slice': (_slice, (Planes,)),
    'Gather': (_gather, (Planes,)),
    'Conv': (convolution, (Pixels, Planes, Pooled)),
    'BatchNormalization': (_batch_normalization, (Pixels, Planes)),
    'Relu': (_relu, (Planes,)),
    'Add': (_add, (Pixels, Planes, Logits)),
    'Sub': (_arithmetic, (Pixels, Planes, Logits)),
    'Mul': (_arithmetic, (Pixels, Planes, Logits)),
    'Div': (_arithmetic, (Pixels, Planes, Logits)),
    'MaxPool': (max_pool, (Planes,)),
    'AveragePool': (average_pool, (Planes,)),
    'GlobalAveragePool': (_mean, (Planes,)),
    'ReduceMean': (_mean, (Planes,)),
    'Gemm': (_linear, (Pooled,)),
    'MatMul': (_linear, (Pooled,)),
}
