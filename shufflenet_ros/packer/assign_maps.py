# SPDX-License-Identifier: Apache-2.0
"""Turn layers into operations on few maps.

A layer reads channels that are next to each other in a map. An arrangement is such a sequence of channels, in
the order that some layer needs. Each layer writes its outputs to the arrangement in which they are read, at
their places there. Channels that are needed in a second arrangement are copied. Then each arrangement gets a
map. A map is reused as soon as its contents are no longer needed.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from shufflenet_ros.packer.layers import Ids, Layer, Layers
from shufflenet_ros.packer.network import NO_TABLE, Array, Map, Network, Op, UnsupportedGraphError

MAX_MAPS, MAX_OPS = 64, 256
MAX_CHANNELS, MAX_CLASSES = 4096, 100_000
"""native/src/blob.h has the same limits."""


def assign_maps(layers: Layers, size: tuple[int, int], graph_sha256: str) -> Network:
    """Give every layer its maps and tables.

    Raises:
        UnsupportedGraphError: more maps, operations, channels or classes than a blob may have, or a sum that
            cannot be formed in place.
    """
    arrangements = Arrangements(layers.all, layers.split_tensors)
    steps = [step for layer in layers.all for step in _steps(layer, arrangements)]
    maps, chosen = _choose_maps(steps, _shapes(arrangements, layers.all))
    ops = tuple(replace(step.op, source=None if step.source is None else chosen[step.source],
                        target=None if step.target is None else chosen[step.target]) for step in steps)
    _check_limits(maps, ops)
    return Network('fp32', size, maps, ops, graph_sha256)


@dataclass(eq=False)
class Arrangement:
    """Channels in the order in which they are stored.

    Attributes:
        base: the arrangement to which these values are added, channel by channel.
        complete: all its channels have been written or copied.
        position: channel -> its index.
    """

    channels: Ids
    base: 'Arrangement | None' = None
    complete: bool = False
    position: dict[int, int] = field(init=False)

    def __post_init__(self) -> None:
        self.position = {channel: index for index, channel in enumerate(self.channels.tolist())}

    def find(self, channels: Ids) -> int | None:
        """Index of the first of these channels, if they are next to each other here in this order."""
        start = self.position.get(int(channels[0]), -1)
        same = start >= 0 and np.array_equal(self.channels[start:start + len(channels)], channels)
        return start if same else None

    def table(self, channels: Ids) -> Array:
        """(channels,) uint32, the index of each."""
        return np.array([self.position[channel] for channel in channels.tolist()], np.uint32)


class Arrangements:
    """The arrangements of all layers, which are given in the order in which they run.

    Attributes:
        all: in the order in which a reader searches them.
        targets: where each layer but the head writes.
        last_read: channel -> the complete arrangement that was read last.
    """

    def __init__(self, layers: list[Layer], split_tensors: Iterable[Ids]):
        self.all: list[Arrangement] = []
        self.last_read: dict[int, Arrangement] = {}
        stem, head = layers[0], layers[-1]
        read = [channels for layer in layers[1:-1] for channels in (layer.reads, layer.adds_to)
                if channels is not None]
        # The stem fills a map and the head reads one, each as a whole.
        for channels in (stem.channels, head.reads):
            if not any(np.array_equal(channels, other.channels) for other in self.all):
                self.all.append(Arrangement(channels))
        # Long ones first, as they may contain short ones.
        for channels in sorted([*split_tensors, *read], key=len, reverse=True):
            if not any(other.find(channels) is not None for other in self.all):
                self.all.append(Arrangement(channels))
        self.targets = {layer: self._choose_target(layer, layers) for layer in layers[:-1]}
        for layer in layers:
            if layer.adds_to is not None:
                self._add_in_place(layer, layer.adds_to)

    def source_of(self, channels: Ids, *, whole: bool = False) -> tuple[Arrangement, int]:
        """The arrangement where a layer reads channels, and the index of the first.

        whole: the arrangement has no other channels.
        """
        return next((other, start) for other in self.all if (start := other.find(channels)) is not None
                    and not (whole and len(other.channels) > len(channels)))

    def missing(self, wanted: Arrangement) -> dict[Arrangement, Ids]:
        """Where to copy the channels that no layer writes there: arrangement -> sorted indices."""
        sources: dict[Arrangement, list[int]] = {}
        written = {channel for layer, target in self.targets.items() if target is wanted
                   for channel in layer.channels.tolist()}
        for channel in wanted.position.keys() - written:
            source = self.last_read.get(channel) or next(
                target for layer, target in self.targets.items() if channel in layer.channels)
            sources.setdefault(source, []).append(source.position[channel])
        return {source: np.sort(sources[source]) for source in self.all if source in sources}

    def _choose_target(self, layer: Layer, layers: list[Layer]) -> Arrangement:
        """The arrangement with all of the layer's channels that is read first, or a new one."""
        if layer is layers[0]:
            return self.all[0]
        own = set(layer.channels.tolist())
        candidates = [arrangement for arrangement in self.all[1:] if own <= arrangement.position.keys()]
        for reader in layers:
            for candidate in candidates:
                if len(reader.reads) and candidate.find(reader.reads) is not None:
                    return candidate
        self.all.append(Arrangement(layer.channels))
        return self.all[-1]

    def _add_in_place(self, layer: Layer, adds_to: Ids) -> None:
        """Form a sum in the map of its first operand."""
        target, (base, start) = self.targets[layer], self.source_of(adds_to)
        indices = target.table(layer.channels).tolist()
        whole = len(target.channels) == len(base.channels) == len(indices)
        if not whole or indices != list(range(start, start + len(indices))):
            raise UnsupportedGraphError('a sum whose operands are not in the order in which the sum is read')
        target.base = base


@dataclass(frozen=True)
class _Step:
    """An operation whose maps are not chosen yet."""

    op: Op
    source: Arrangement | None
    target: Arrangement | None


def _steps(layer: Layer, arrangements: Arrangements) -> list[_Step]:
    """The layer's operation, after copies of the channels that it needs next to each other."""
    target = arrangements.targets.get(layer)
    if layer.kind == 'stem':
        return [_Step(_op(layer, 0, 3, NO_TABLE), None, target)]
    source, first = arrangements.source_of(layer.reads, whole=layer.kind == 'head')
    steps = _copies(source, arrangements)
    if layer.adds_to is not None:
        steps += _copies(arrangements.source_of(layer.adds_to)[0], arrangements)
    table = target.table(layer.channels) if target else NO_TABLE
    return [*steps, _Step(_op(layer, first, len(layer.reads), table), source, target)]


def _copies(wanted: Arrangement, arrangements: Arrangements) -> list[_Step]:
    """Copies of the channels that are only in other arrangements, one for each run of neighbors."""
    if wanted.complete:
        return []
    empty = np.zeros(0, np.float32)
    steps = []
    for source, indices in arrangements.missing(wanted).items():
        for run in np.split(indices, np.flatnonzero(np.diff(indices) > 1) + 1):
            table = wanted.table(source.channels[run])
            op = Op('copy', None, None, len(run), empty, empty, table, int(run[0]))
            steps += [*_copies(source, arrangements), _Step(op, source, wanted)]
    wanted.complete = True
    arrangements.last_read |= dict.fromkeys(wanted.position, wanted)
    return steps


def _op(layer: Layer, first: int, count: int, table: Array) -> Op:
    weights, bias = layer.weights.astype(np.float32), layer.bias.astype(np.float32)
    return Op(layer.kind, None, None, count, weights, bias, table, first, layer.groups, layer.stride,
              layer.relu, layer.adds_to is not None, layer.pool, layer.pad)


# Arrangements in the same map have the same shape, and all or none of them can be negative.
_Shape = tuple[Map, bool]


def _shapes(arrangements: Arrangements, layers: list[Layer]) -> dict[Arrangement, _Shape]:
    layer_of = {channel: layer for layer in layers for channel in layer.channels.tolist()}
    shapes = {}
    for arrangement in arrangements.all:
        members = [layer_of[channel] for channel in arrangement.position]
        shapes[arrangement] = (Map(len(members), *members[0].size), any(layer.signed for layer in members))
    return shapes


def _choose_maps(steps: list[_Step], shapes: dict[Arrangement, _Shape]
                 ) -> tuple[tuple[Map, ...], dict[Arrangement, int]]:
    """The maps, and each arrangement's map: one of its shape that is free, or a new one."""
    last_use: dict[Arrangement, int] = {}
    for now, step in enumerate(steps):
        for used in (step.source, step.target, step.target and step.target.base):
            if used is not None:
                last_use[used] = now
    maps: list[_Shape] = []
    latest: list[Arrangement] = []  # in each map
    chosen: dict[Arrangement, int] = {}
    for now, wanted in enumerate(step.target for step in steps):
        if wanted is None or wanted in chosen:
            continue
        if wanted.base is not None:
            if last_use[wanted.base] > now:
                raise UnsupportedGraphError('a sum that overwrites an operand that is used again')
            index = chosen[wanted.base]
        else:
            index = next((i for i, shape in enumerate(maps)
                          if shape == shapes[wanted] and last_use[latest[i]] < now), len(maps))
        if index == len(maps):
            maps.append(shapes[wanted])
            latest.append(wanted)
        chosen[wanted], latest[index] = index, wanted
    return tuple(shape[0] for shape in maps), chosen


def _check_limits(maps: tuple[Map, ...], ops: tuple[Op, ...]) -> None:
    widest = max([m.channels for m in maps] + [op.outputs for op in ops[:-1]])
    for count, limit, what in ((len(maps), MAX_MAPS, 'maps'), (len(ops), MAX_OPS, 'operations'),
                               (widest, MAX_CHANNELS, 'channels'), (ops[-1].outputs, MAX_CLASSES, 'classes')):
        if count > limit:
            raise UnsupportedGraphError(f'{count} {what}: expected at most {limit}')
