"""ONNX operators that our kernels compute, or that only say where channels lie: one function each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from shufflenet_ros.packer.convolutions import Given, average_pool, convolution, max_pool
from shufflenet_ros.packer.errors import UnsupportedGraphError
from shufflenet_ros.packer.layers import Floats, Layer, Layers
from shufflenet_ros.packer.node import Node, per_channel
from shufflenet_ros.packer.values import Pixels, Planes, Pooled, Logits, Value

_FLOAT = 1  # TensorProto.FLOAT
Operator: TypeAlias = Callable[[Node, Given, Layers], list[Value]]


def _only(given: Sequence[Value], *kinds: type, count: int = 1) -> None:
    if len(given) != count or not all(isinstance(value, kinds) for value in given):
        names = ', '.join(type(value).__name__.lower() for value in given) or 'constants'
        raise UnsupportedGraphError(f'works on {names}: expected {" or ".join(kind.__name__.lower() for kind in kinds)}'
                       f'{" twice" if count == 2 else ""}')


def _identity(node: Node, given: Given, layers: Layers) -> list[Value]:
    _only(given, Pixels, Planes, Pooled, Logits)
    return [given[0]]


def _cast(node: Node, given: Given, layers: Layers) -> list[Value]:
    _only(given, Pixels)
    if node.get('to', 0) != _FLOAT:
        raise UnsupportedGraphError('casts to another type than float32')
    return [replace(given[0], cast=True)]


def _transpose(node: Node, given: Given, layers: Layers) -> list[Value]:
    _only(given, Pixels, Planes)
    value, perm = given[0], list(node.get('perm', []))
    if isinstance(value, Pixels):
        if value.axes != 'NHWC' or perm != [0, 3, 1, 2]:
            raise UnsupportedGraphError(f'turns the axes of the frame by {perm}: expected [0, 3, 1, 2], once')
        return [replace(value, axes='NCHW')]
    lead = value.ids.ndim
    if perm[lead:] != list(range(lead, len(value.shape))) or not perm:
        raise UnsupportedGraphError(f'moves pixels (axes {perm}): expected that channels alone are moved')
    return [replace(value, ids=value.ids.transpose(perm[:lead]))]


def _reshape(node: Node, given: Given, layers: Layers) -> list[Value]:
    _only(given, Planes, Pooled)
    if isinstance(given[0], Pooled):
        return [given[0]]
    value, shape = given[0], node.numbers(1)
    if 0 in shape and not node.get('allowzero', 0):
        shape = [value.shape[i] if n == 0 and i < len(value.shape) else n for i, n in enumerate(shape)]
    total = int(np.prod(value.shape))
    if -1 in shape:
        shape = [total // max(1, -int(np.prod(shape))) if n == -1 else n for n in shape]
    for lead in range(1, len(shape)):
        planes = tuple(shape[lead:])
        same = int(np.prod(shape[:lead])) == value.ids.size
        if same and planes in (value.size, (int(np.prod(value.size)),)):
            return [Planes(value.ids.reshape(shape[:lead]), value.size, len(planes) == 1)]
    raise UnsupportedGraphError(f'from {list(value.shape)} to {shape} takes planes apart')


def _flatten(node: Node, given: Given, layers: Layers) -> list[Value]:
    _only(given, Pooled)
    return [given[0]]


def _lead_axis(value: Planes, axis: int) -> int:
    axis += len(value.shape) if axis < 0 else 0
    if axis >= value.ids.ndim:
        raise UnsupportedGraphError(f'works along axis {axis}, which is one of pixels: expected one of channels')
    return axis


def _concat(node: Node, given: Given, layers: Layers) -> list[Value]:
    _only(given, Planes, count=len(node.inputs))
    if len({value.shape[value.ids.ndim:] for value in given}) != 1:
        raise UnsupportedGraphError('joins planes of different sizes')
    axis = _lead_axis(given[0], node.get('axis', 0))
    return [replace(given[0], ids=np.concatenate([value.ids for value in given], axis))]


def _split(node: Node, given: Given, layers: Layers) -> list[Value]:
    _only(given, Planes)
    value = given[0]
    axis = _lead_axis(value, node.get('axis', 0))
    count, told = value.ids.shape[axis], len(node.inputs) > 1 or 'split' in node.attributes
    parts = node.numbers(1, 'split') if told else [count // len(node.outputs)] * len(node.outputs)
    if sum(parts) != count:
        raise UnsupportedGraphError(f'cuts {count} channels into {parts}')
    layers.cut(value.channels)
    return [replace(value, ids=part) for part in np.split(value.ids, np.cumsum(parts)[:-1].tolist(), axis)]


def _slice(node: Node, given: Given, layers: Layers) -> list[Value]:
    _only(given, Planes)
    value = given[0]
    starts, ends = node.numbers(1, 'starts'), node.numbers(2, 'ends')
    told = len(node.inputs) > 3 or 'axes' in node.attributes
    axes = node.numbers(3, 'axes') if told else [*range(len(starts))]
    steps = node.numbers(4) if len(node.inputs) > 4 else [1] * len(starts)
    ids = value.ids
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step < 1:
            raise UnsupportedGraphError('goes backwards')
        ids = ids[(slice(None),) * _lead_axis(value, axis) + (slice(start, end, step),)]
    layers.cut(value.channels)
    return [replace(value, ids=ids)]


def _gather(node: Node, given: Given, layers: Layers) -> list[Value]:
    _only(given, Planes)
    value, indices = given[0], node.constant(1)
    assert indices is not None
    layers.cut(value.channels)
    return [replace(value, ids=np.take(value.ids, indices, _lead_axis(value, node.get('axis', 0))))]


def _relu(node: Node, given: Given, layers: Layers) -> list[Value]:
    _only(given, Planes)
    value = given[0]
    return [replace(value, ids=layers.relu(value.channels).reshape(value.ids.shape))]


def _add(node: Node, given: Given, layers: Layers) -> list[Value]:
    if len(given) != 2:
        return _arithmetic(node, given, layers)
    _only(given, Planes, count=2)
    one, other = given
    if one.shape != other.shape:
        raise UnsupportedGraphError(f'adds {list(one.shape)} and {list(other.shape)}')
    ids = layers.add(one.channels, other.channels)
    return [replace(one, ids=ids.reshape(one.ids.shape))]


def _arithmetic(node: Node, given: Given, layers: Layers) -> list[Value]:
    """Add, Sub, Mul and Div with constants."""
    _only(given, Pixels, Planes, Logits)
    value = given[0]
    place = 1 if node.inputs[0] not in node.constants else 0
    if place == 0 and node.kind in ('Sub', 'Div'):
        raise UnsupportedGraphError('takes from or divides a constant')
    constant = node.constant(place)
    assert constant is not None
    if isinstance(value, Logits):
        by = per_channel(constant, len(value.ids), 1, 2)
    elif isinstance(value, Planes):
        if not value.plain:
            raise UnsupportedGraphError('works on shuffled channels')
        by = per_channel(constant, value.ids.size, 1, 4)
    else:
        by = per_channel(constant, 3, 1 if value.axes == 'NCHW' else 3, 4)
    one = np.ones_like(by)
    if node.kind == 'Div' and not by.all():
        raise UnsupportedGraphError('divides by 0')
    scale = {'Mul': by, 'Div': one / np.where(by == 0, 1, by)}.get(node.kind, one)
    shift = {'Add': by, 'Sub': -by}.get(node.kind, 0 * by)
    return [_scaled(value, layers, scale, shift)]


def _scaled(value: Value, layers: Layers, scale: Floats, shift: Floats) -> Value:
    if isinstance(value, Pixels):
        if not value.cast:
            raise UnsupportedGraphError('works on bytes: expected that they are cast to float before')
        return replace(value, scale=value.scale * scale, shift=value.shift * scale + shift)
    if isinstance(value, Planes):
        return replace(value, ids=layers.affine(value.channels, scale, shift).reshape(value.ids.shape))
    return Logits(layers.affine(value.ids, scale, shift))


def _batch_normalization(node: Node, given: Given, layers: Layers) -> list[Value]:
    _only(given, Pixels, Planes)
    value = given[0]
    weight, bias, mean, var = (node.weights(index) for index in range(1, 5))
    count = value.ids.size if isinstance(value, Planes) else 3
    plain = value.plain if isinstance(value, Planes) else value.axes == 'NCHW'
    fitting = all(values.shape == (count,) for values in (weight, bias, mean, var))
    if not plain or not fitting or node.get('training_mode', 0):
        raise UnsupportedGraphError(f'normalizes something else than {count} channels with fixed statistics')
    scale = weight / np.sqrt(var + node.get('epsilon', 1e-5))
    return [_scaled(value, layers, scale, bias - mean * scale)]


def _mean(node: Node, given: Given, layers: Layers) -> list[Value]:
    _only(given, Planes)
    value = given[0]
    if node.kind == 'ReduceMean':
        axes = sorted(axis + (4 if axis < 0 else 0) for axis in node.numbers(1, 'axes'))
        if axes != [2, 3]:
            raise UnsupportedGraphError(f'takes means along the axes {axes}: expected [2, 3]')
    if not value.plain:
        raise UnsupportedGraphError('takes means of shuffled channels')
    return [Pooled(value.channels)]


def _linear(node: Node, given: Given, layers: Layers) -> list[Value]:
    """Gemm and MatMul."""
    _only(given, Pooled)
    ids, weights = given[0].ids, node.weights(1)
    if not node.get('transB', 0):
        weights = weights.T
    if node.get('transA', 0) or weights.shape[1:] != (len(ids),):
        raise UnsupportedGraphError(f'weights of {list(weights.shape)}: expected a linear layer of {len(ids)} means')
    bias = node.bias(2, len(weights)) * node.get('beta', 1.0)
    head = Layer('head', layers.read(ids), weights * node.get('alpha', 1.0), bias, (1, 1))
    return [Logits(layers.append(head))]


OPERATORS: Mapping[str, Operator] = {
    'Identity': _identity, 'Dropout': _identity, 'Cast': _cast, 'Transpose': _transpose, 'Reshape': _reshape,
    'Flatten': _flatten, 'Squeeze': _flatten, 'Concat': _concat, 'Split': _split, 'Slice': _slice,
    'Gather': _gather, 'Conv': convolution, 'BatchNormalization': _batch_normalization, 'Relu': _relu,
    'Add': _add, 'Sub': _arithmetic, 'Mul': _arithmetic, 'Div': _arithmetic, 'MaxPool': max_pool,
    'AveragePool': average_pool, 'GlobalAveragePool': _mean, 'ReduceMean': _mean, 'Gemm': _linear,
    'MatMul': _linear,
}
