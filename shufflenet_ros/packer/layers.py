# SPDX-License-Identifier: Apache-2.0
"""The tensors of the graph, and the layers that compute them.

A tensor is an array of ids, one per channel. Batch normalization, ReLU, sums and pools are folded into the
layer before them and give its channels new ids. Later use of the old ids is an error.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from shufflenet_ros.packer.network import Kind, UnsupportedGraphError

Ids = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Pool = Literal['', 'both', 'end']


@dataclass(frozen=True)
class Pixels:
    """The frame; each channel is pixel * scale + shift.

    Attributes:
        axes: the tensor's layout, with a batch of 1.
        is_float: it was cast to float.
        scale, shift: (3,) float64.
        size: (height, width).
    """

    axes: Literal['NHWC', 'NCHW']
    is_float: bool
    scale: Floats
    shift: Floats
    size: tuple[int, int]


@dataclass(frozen=True)
class Planes:
    """Planes of activations.

    Attributes:
        ids: ids of the channels, shaped as the tensor's leading axes.
        size: (height, width) of a plane.
        flat: one last axis for all pixels of a plane instead of two.
    """

    ids: Ids
    size: tuple[int, int]
    flat: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """The tensor's shape."""
        return (*self.ids.shape, *((int(np.prod(self.size)),) if self.flat else self.size))

    @property
    def channels(self) -> Ids:
        """(C,) all ids in the tensor's order."""
        return self.ids.reshape(-1)

    def check_plain(self) -> None:
        """Raises UnsupportedGraphError unless the shape is (1, C, H, W)."""
        if self.flat or self.ids.ndim != 2 or len(self.ids) != 1:
            raise UnsupportedGraphError(
                f'works on a tensor of shape {list(self.shape)}: expected (1, C, H, W)')


@dataclass(frozen=True)
class Pooled:
    """The means of planes, (1, C), perhaps with more axes of 1."""

    ids: Ids


@dataclass(frozen=True)
class Logits:
    """The output of the linear layer, (1, classes)."""

    ids: Ids


Tensor: TypeAlias = Pixels | Planes | Pooled | Logits


@dataclass(eq=False)
class Layer:
    """One operation; see network.Op for the other attributes.

    Attributes:
        reads: (count,) the channels that it reads, numbered over all layers; none for the stem.
        size: (height, width) of the output.
        signed: whether the output can be negative.
        adds_to: (out,) channels whose values are added to the output.
        first: number of the first channel of the output.
        ids: (out,) current ids of the output's channels.
        closed: another layer has read it, so it must not change any more.
    """

    kind: Kind
    reads: Ids
    weights: Floats
    bias: Floats
    size: tuple[int, int]
    groups: int = 1
    stride: int = 1
    relu: bool = False
    pool: Pool = ''
    pad: tuple[float, ...] = (0.0, 0.0, 0.0)
    signed: bool = True
    adds_to: Ids | None = None
    first: int = 0
    ids: Ids = field(default_factory=lambda: np.zeros(0, np.int64))
    closed: bool = False

    @property
    def channels(self) -> Ids:
        """(out,) the channels of the output, numbered over all layers."""
        return self.first + np.arange(len(self.bias))


class Layers:
    """All layers so far.

    Attributes:
        all: in the order in which they run.
        split_tensors: the channels of each tensor that was split; they are stored next to each other.
    """

    def __init__(self) -> None:
        self.all: list[Layer] = []
        self.split_tensors: list[Ids] = []
        self._owners: list[tuple[Layer, int]] = []  # by id: layer, and index of the channel in it

    def append(self, layer: Layer) -> Ids:
        """Add a layer; returns the ids of its output."""
        if self.all:
            layer.first = self.all[-1].first + len(self.all[-1].bias)
        self.all.append(layer)
        return self._new_ids(layer)

    def read(self, ids: Ids) -> Ids:
        """The channels behind ids. Their layers must not change any more.

        Raises:
            UnsupportedGraphError: a layer has changed since it got these ids.
        """
        owners = self._owners_of(ids)
        for layer, _ in owners:
            layer.closed = True
        return np.array([layer.first + index for layer, index in owners], np.int64)

    def signed(self, ids: Ids) -> bool:
        """Whether any of the channels can be negative."""
        return any(layer.signed for layer, _ in self._owners_of(ids))

    def relu(self, ids: Ids) -> Ids:
        """max(0, y)."""
        def change(layer: Layer) -> None:
            if layer.kind == 'depthwise':
                raise UnsupportedGraphError('is a ReLU after a depthwise convolution or an average pool')
            layer.relu, layer.signed = True, False
        return self._change(ids, change, only=lambda layer: layer.signed)

    def affine(self, ids: Ids, scale: Floats, shift: Floats) -> Ids:
        """y * scale + shift, with a value for each id."""
        factors, offsets = (dict(zip(ids.tolist(), by.tolist(), strict=True)) for by in (scale, shift))

        def change(layer: Layer) -> None:
            if layer.relu or layer.pool or layer.adds_to is not None:
                raise UnsupportedGraphError('scales the output of a ReLU, a pool or a sum')
            by = np.array([factors[i] for i in layer.ids.tolist()])
            layer.weights = layer.weights * by.reshape(-1, *[1] * (layer.weights.ndim - 1))
            layer.bias = layer.bias * by + np.array([offsets[i] for i in layer.ids.tolist()])
            layer.signed = True
        return self._change(ids, change)

    def max_pool(self, ids: Ids, pool: Pool) -> Ids:
        """3x3 and stride 2, after the stem only."""
        def change(layer: Layer) -> None:
            if layer.kind != 'stem' or layer.pool or not np.array_equal(layer.ids, ids):
                raise UnsupportedGraphError('pools something other than the first convolution')
            layer.pool, layer.size = pool, (layer.size[0] // 2, layer.size[1] // 2)
        return self._change(ids, change)

    def add(self, one: Ids, other: Ids) -> Ids:
        """The sum of a pointwise convolution and of earlier values."""
        early, late = sorted((one, other), key=lambda ids: max(x.first for x, _ in self._owners_of(ids)))
        layer, order = self._owners_of(late)[0][0], np.argsort(late)
        if not np.array_equal(late[order], layer.ids):
            raise UnsupportedGraphError('adds something other than one whole convolution')
        if layer.kind != 'pointwise' or layer.relu or layer.adds_to is not None:
            raise UnsupportedGraphError('adds to something other than a 1x1 convolution without ReLU')
        base = self.read(early)

        def change(layer: Layer) -> None:
            layer.adds_to = base[order]
        return self._change(late, change)

    def _owners_of(self, ids: Ids) -> list[tuple[Layer, int]]:
        """The layer of each id, and the channel's index in it."""
        owners = [self._owners[i] for i in ids.tolist()]
        if any(layer.ids[index] != i for i, (layer, index) in zip(ids.tolist(), owners)):
            raise UnsupportedGraphError('reads values from before an operation was folded into them')
        return owners

    def _change(self, ids: Ids, change: Callable[[Layer], Any],
                only: Callable[[Layer], bool] = lambda layer: True) -> Ids:
        """Change layers that are not closed and have all channels among the ids; returns the new ids."""
        owners = self._owners_of(ids)
        changed = dict.fromkeys(layer for layer, _ in owners if only(layer))
        for layer in changed:
            here = sorted(index for other, index in owners if other is layer)
            if layer.closed or here != list(range(len(layer.ids))):
                raise UnsupportedGraphError('changes part of a layer, or values that another node reads')
        for layer in changed:
            change(layer)
            self._new_ids(layer)
        return np.array([layer.ids[index] for layer, index in owners], np.int64)

    def _new_ids(self, layer: Layer) -> Ids:
        layer.ids = len(self._owners) + np.arange(len(layer.bias))
        self._owners += [(layer, index) for index in range(len(layer.ids))]
        return layer.ids
