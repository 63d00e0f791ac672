"""A node of an ONNX graph with its constants, and what our kernels demand of convolutions and pools."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from shufflenet_ros.packer.errors import UnsupportedGraphError
from shufflenet_ros.packer.layers import Floats
from shufflenet_ros.packer.network import Array

NO_PADDING, PADDING_AROUND, PADDING_AT_END = [0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 1, 1]


@dataclass(frozen=True)
class Node:
    """A node.

    Attributes:
        kind: its operator.
        inputs, outputs: names; '' for an input that is left out.
        attributes: by name.
        constants: by name, of the whole graph.
    """

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    constants: Mapping[str, Array]

    def get(self, attribute: str, default: Any) -> Any:
        """An attribute."""
        return self.attributes.get(attribute, default)

    def constant(self, index: int) -> Array | None:
        """An input's constant; None where it has no such input.

        Raises:
            UnsupportedGraphError: it is computed.
        """
        name = self.inputs[index] if index < len(self.inputs) else ''
        if name and name not in self.constants:
            raise UnsupportedGraphError(f'input {index} ({name!r}) is computed: expected a constant')
        return self.constants[name] if name else None

    def numbers(self, index: int, attribute: str = '') -> list[int]:
        """Integers that are an input, or in older operator sets an attribute."""
        if attribute in self.attributes:
            return [int(value) for value in self.attributes[attribute]]
        values = self.constant(index)
        if values is None:
            raise UnsupportedGraphError(f'has no input {index}')
        return [int(value) for value in values.reshape(-1)]

    def weights(self, index: int) -> Floats:
        """An input's floats.

        Raises:
            UnsupportedGraphError: it is computed, left out, of another type, or not finite.
        """
        values = self.constant(index)
        if values is None or values.dtype.kind != 'f' or not np.isfinite(values).all():
            raise UnsupportedGraphError(f'input {index}: expected finite floats, got '
                           f'{"nothing" if values is None else values.dtype}')
        return values.astype(np.float64)

    def bias(self, index: int, count: int) -> Floats:
        """An optional input with a float for each of `count` outputs."""
        if index >= len(self.inputs) or not self.inputs[index]:
            return np.zeros(count)
        return np.broadcast_to(self.weights(index).reshape(-1), count).copy()

    def window(self, side: int, strides: tuple[int, ...], *pads: list[int]) -> tuple[int, list[int]]:
        """Stride and padding of a convolution or pool.

        Raises:
            UnsupportedGraphError: another window than side x side, or other strides or pads than these.
        """
        stride, pad = list(self.get('strides', [1, 1])), list(self.get('pads', [0] * 4))
        ceil = bool(self.get('ceil_mode', 0))
        kernel = list(self.get('kernel_shape', [side] * 2))
        got = f'a window of {kernel}, strides {stride}, pads {pad}' + (', ceil_mode' if ceil else '')
        told = self.get('auto_pad', b'NOTSET') in (b'NOTSET', b'VALID')
        if not told or set(self.get('dilations', [1])) != {1}:
            raise UnsupportedGraphError('has auto_pad or dilations: expected pads that are told, and neighboring pixels')
        if ceil and pad == NO_PADDING:
            ceil, pad = False, PADDING_AT_END  # the same for planes of even sides
        if kernel != [side] * 2 or stride not in [[s, s] for s in strides] or pad not in pads or ceil:
            raise UnsupportedGraphError(f'{got}: expected {side}x{side}, strides {" or ".join(map(str, strides))}, '
                           f'pads {" or ".join(map(str, pads))}')
        return stride[0], pad


def per_channel(constant: Array, count: int, axis: int, axes: int) -> Floats:
    """A constant that is combined with a tensor, as one value for each of its channels.

    Args:
        axis: the tensor's axis of channels.
        axes: how many it has.

    Raises:
        UnsupportedGraphError: the values differ along another axis.
    """
    shape = (1,) * (axes - constant.ndim) + constant.shape
    along = [n for i, n in enumerate(shape) if i != axis]
    if len(shape) != axes or set(along) != {1} or shape[axis] not in (1, count):
        raise UnsupportedGraphError(f'a constant of shape {list(constant.shape)}: expected one value for each of {count} '
                       'channels')
    if constant.dtype.kind != 'f' or not np.isfinite(constant).all():
        raise UnsupportedGraphError('a constant that is not of finite floats')
    return np.broadcast_to(constant.astype(np.float64).reshape(-1), count).copy()
