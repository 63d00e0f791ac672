# SPDX-License-Identifier: Apache-2.0
"""A node of an ONNX graph with its constants, and checks that the kernels can compute it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from shufflenet_ros.packer.layers import Floats
from shufflenet_ros.packer.network import Array, UnsupportedGraphError

NO_PADDING, PADDING_AROUND, PADDING_AT_END = [0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 1, 1]


@dataclass(frozen=True)
class Node:
    """A node.

    Attributes:
        kind: the operator; with its domain if that isn't ONNX's own.
        inputs, outputs: names; '' for an omitted input.
        constants: all constants of the graph by name.
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
        """An input's constant, None without this input.

        Raises:
            UnsupportedGraphError: the input is computed.
        """
        name = self.inputs[index] if index < len(self.inputs) else ''
        if name and name not in self.constants:
            raise UnsupportedGraphError(f'input {index} ({name!r}) is computed: expected a constant')
        return self.constants[name] if name else None

    def integers(self, index: int, attribute: str = '') -> list[int]:
        """Integers from an input, or from an attribute as in older operator sets."""
        if attribute in self.attributes:
            return [int(value) for value in self.attributes[attribute]]
        values = self.constant(index)
        if values is None:
            raise UnsupportedGraphError(f'input {index} is missing')
        return [int(value) for value in values.reshape(-1)]

    def weights(self, index: int) -> Floats:
        """An input's constant floats.

        Raises:
            UnsupportedGraphError: the input is computed, omitted, of another type, or not finite.
        """
        return _finite_floats(self.constant(index), f'input {index}')

    def bias(self, index: int, count: int) -> Floats:
        """An optional input with a float for each of `count` outputs."""
        if index >= len(self.inputs) or not self.inputs[index]:
            return np.zeros(count)
        return np.broadcast_to(self.weights(index).reshape(-1), count).copy()

    def window(self, side: int, strides: tuple[int, ...], *pads: list[int]) -> tuple[int, list[int]]:
        """Stride and padding of a convolution or pool.

        Raises:
            UnsupportedGraphError: the window isn't side x side, or has other strides or pads than these.
        """
        stride, pad = list(self.get('strides', [1, 1])), list(self.get('pads', [0] * 4))
        kernel, ceil = list(self.get('kernel_shape', [side] * 2)), bool(self.get('ceil_mode', 0))
        got = f'a window of {kernel}, strides {stride}, pads {pad}' + (', ceil_mode' if ceil else '')
        explicit = self.get('auto_pad', b'NOTSET') in (b'NOTSET', b'VALID')
        if not explicit or set(self.get('dilations', [1])) != {1}:
            raise UnsupportedGraphError('has auto_pad or dilations: expected explicit pads and no dilation')
        if ceil and pad == NO_PADDING:
            ceil, pad = False, PADDING_AT_END  # the same for planes of even sides
        if kernel != [side] * 2 or stride not in [[s, s] for s in strides] or pad not in pads or ceil:
            raise UnsupportedGraphError(
                f'{got}: expected {side}x{side}, strides {" or ".join(map(str, strides))}, '
                f'pads {" or ".join(map(str, pads))}')
        return stride[0], pad


def per_channel(constant: Array, count: int, axis: int, axes: int) -> Floats:
    """A constant operand as one value for each channel of the other operand.

    Args:
        count: how many channels that tensor has.
        axis: its axis of channels.
        axes: how many axes it has.

    Raises:
        UnsupportedGraphError: the values differ along another axis.
    """
    shape = (1,) * (axes - constant.ndim) + constant.shape
    others = {n for i, n in enumerate(shape) if i != axis}
    if len(shape) != axes or others != {1} or shape[axis] not in (1, count):
        raise UnsupportedGraphError(
            f'a constant of shape {list(constant.shape)}: expected one value for each of {count} channels')
    return np.broadcast_to(_finite_floats(constant, 'a constant').reshape(-1), count).copy()


def _finite_floats(values: Array | None, what: str) -> Floats:
    if values is None or values.dtype.kind != 'f' or not np.isfinite(values).all():
        got = 'nothing' if values is None else values.dtype
        raise UnsupportedGraphError(f'{what}: expected finite floats, got {got}')
    return values.astype(np.float64)
