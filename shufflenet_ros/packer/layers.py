"""The layers of a graph while it is walked: what follows one is folded into it, if nothing else reads it.

A tensor is an array of ids, one a channel. Whatever changes a layer's values (BN, ReLU, a sum, a pool) gives
its channels new ids, so that a use of an old one is noticed and refused.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from shufflenet_ros.packer.errors import UnsupportedGraphError
from shufflenet_ros.packer.network import Kind

Ids = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_STALE = 'takes values from before an operation that is folded into their layer'


@dataclass(eq=False)
class Layer:
    """One operation; see network.Op for what is not here.

    Attributes:
        reads: (count,) channels that it takes, numbered over all layers; none for the stem.
        size: (height, width) of what it gives.
        signed: whether it can give values below 0.
        base: (out,) channels to whose values it adds its own.
        first: number of its own first channel.
        ids: (out,) what its channels are called now.
        closed: another layer has read it, so it stays as it is.
    """

    kind: Kind
    reads: Ids
    weights: Floats
    bias: Floats
    size: tuple[int, int]
    groups: int = 1
    stride: int = 1
    relu: bool = False
    pool: Literal['', 'both', 'end'] = ''
    pad: tuple[float, float, float] = (0.0, 0.0, 0.0)
    signed: bool = True
    base: Ids | None = None
    first: int = 0
    ids: Ids = field(default_factory=lambda: np.zeros(0, np.int64))
    closed: bool = False

    @property
    def channels(self) -> Ids:
        """(out,) its own, numbered over all layers."""
        return self.first + np.arange(len(self.bias))


class Layers:
    """All layers so far, in the order in which they run.

    Attributes:
        done: the layers.
        wholes: the channels of each tensor that was cut into parts, which so lie together.
    """

    def __init__(self) -> None:
        self.done: list[Layer] = []
        self.wholes: list[Ids] = []
        self._owner: list[tuple[Layer, int]] = []  # by id

    def append(self, layer: Layer) -> Ids:
        """Add a layer; the ids of what it gives."""
        last = self.done[-1] if self.done else None
        layer.first = last.first + len(last.bias) if last else 0
        self.done.append(layer)
        return self._rename(layer)

    def read(self, ids: Ids) -> Ids:
        """The channels that ids stand for; their layers may not change any more.

        Raises:
            UnsupportedGraphError: a layer was changed after these ids were given.
        """
        channels = []
        for layer, index, new in self._now(ids):
            if not new:
                raise UnsupportedGraphError(_STALE)
            layer.closed = True
            channels.append(layer.first + index)
        return np.array(channels, np.int64)

    def cut(self, ids: Ids) -> None:
        """Note that a tensor is cut into parts."""
        self.wholes.append(self.read(ids))

    def signed(self, ids: Ids) -> bool:
        """Whether any of the channels can have values below 0."""
        return any(layer.signed for layer, _, _ in self._now(ids))

    def relu(self, ids: Ids) -> Ids:
        """max(0, y)."""
        if not self.signed(ids):
            return ids

        def change(layer: Layer) -> None:
            if layer.kind == 'depthwise':
                raise UnsupportedGraphError('cuts off values of a depthwise convolution, or of a mean, that may be '
                               'below 0')
            layer.relu, layer.signed = True, False
        return self._change(ids, change, only=lambda layer: layer.signed)

    def affine(self, ids: Ids, scale: Floats, shift: Floats) -> Ids:
        """y * scale + shift, with a value for each id."""
        factor, offset = (dict(zip(ids.tolist(), values.tolist(), strict=True)) for values in (scale, shift))

        def change(layer: Layer) -> None:
            if layer.relu or layer.pool or layer.base is not None:
                raise UnsupportedGraphError('scales what a ReLU, a pool or a sum has given')
            by = np.array([factor[i] for i in layer.ids.tolist()])
            layer.weights = layer.weights * by.reshape(-1, *[1] * (layer.weights.ndim - 1))
            layer.bias = layer.bias * by + np.array([offset[i] for i in layer.ids.tolist()])
            layer.signed = True
        return self._change(ids, change)

    def max_pool(self, ids: Ids, pool: Literal['both', 'end']) -> Ids:
        """3x3 and stride 2, which the stem alone has."""
        def change(layer: Layer) -> None:
            if layer.kind != 'stem' or layer.pool or not np.array_equal(layer.ids, ids):
                raise UnsupportedGraphError('pools something else than the first convolution')
            layer.pool, layer.size = pool, (layer.size[0] // 2, layer.size[1] // 2)
        return self._change(ids, change)

    def add(self, one: Ids, other: Ids) -> Ids:
        """The sum of a pointwise convolution and of something that was there before it."""
        early, late = sorted((one, other), key=lambda ids: max(self.done.index(layer) for layer, _, _
                                                              in self._now(ids)))
        owners = {layer for layer, _, _ in self._now(late)}
        order = np.argsort(late)
        if len(owners) != 1 or not np.array_equal(late[order], (layer := owners.pop()).ids):
            raise UnsupportedGraphError('adds something else than one whole convolution')
        if layer.kind != 'pointwise' or layer.relu or layer.base is not None:
            raise UnsupportedGraphError('adds to something else than a 1x1 convolution without ReLU')
        base = self.read(early)

        def change(layer: Layer) -> None:
            layer.base = base[order]
        self._change(late, change)
        return layer.ids[np.argsort(order)]

    def _now(self, ids: Ids) -> list[tuple[Layer, int, bool]]:
        """Each id's layer, its index there, and whether it is still called so."""
        found = ((i, *self._owner[i]) for i in ids.tolist())
        return [(layer, index, layer.ids[index] == i) for i, layer, index in found]

    def _change(self, ids: Ids, change: Callable[[Layer], Any],
                only: Callable[[Layer], bool] = lambda layer: True) -> Ids:
        """Change layers that nobody has read and whose every channel is among the ids; the new ids."""
        found = self._now(ids)
        changed = list({layer: None for layer, _, _ in found if only(layer)})
        for layer in changed:
            here = [index for other, index, _ in found if other is layer]
            if layer.closed or sorted(here) != list(range(len(layer.ids))):
                raise UnsupportedGraphError('changes values that something else reads as they were, or a part of a layer')
        if not all(new for _, _, new in found):
            raise UnsupportedGraphError(_STALE)
        for layer in changed:
            change(layer)
            self._rename(layer)
        return np.array([layer.ids[index] for layer, index, _ in found], np.int64)

    def _rename(self, layer: Layer) -> Ids:
        layer.ids = len(self._owner) + np.arange(len(layer.bias))
        self._owner += [(layer, index) for index in range(len(layer.ids))]
        return layer.ids
