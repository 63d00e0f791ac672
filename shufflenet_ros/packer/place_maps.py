"""Layers to a network: operations on few maps, used again as soon as nobody needs what they hold."""

from dataclasses import dataclass, replace

import numpy as np

from shufflenet_ros.packer.arrange import Arrangement, Arrangements
from shufflenet_ros.packer.errors import UnsupportedGraphError
from shufflenet_ros.packer.layers import Ids, Layer, Layers
from shufflenet_ros.packer.network import NO_TABLE, Array, Map, Network, Op

MAX_MAPS, MAX_OPS = 64, 256
MAX_CHANNELS, MAX_CLASSES = 4096, 100_000
"""native/src/blob.h has the same limits."""


@dataclass(frozen=True)
class _Step:
    """An operation whose maps are not chosen yet."""

    op: Op
    source: Arrangement | None
    target: Arrangement | None


def place(layers: Layers, size: tuple[int, int], graph_sha256: str) -> Network:
    """Give every layer its maps and tables.

    Raises:
        UnsupportedGraphError: more maps, operations, channels or classes than a blob may have, or sums not in place.
    """
    arrangements = Arrangements(layers.done, layers.wholes)
    steps: list[_Step] = []
    for layer in layers.done:
        steps += _steps(layer, arrangements)
    shapes = _shapes(arrangements, layers.done)
    maps, chosen = _choose_maps(steps, shapes)
    ops = tuple(replace(step.op, source=_index(chosen, step.source), target=_index(chosen, step.target))
                for step in steps)
    _check_limits(maps, ops)
    return Network('fp32', size, maps, ops, graph_sha256)


def _steps(layer: Layer, arrangements: Arrangements) -> list[_Step]:
    """The layer's operation, after the copies that fill what it reads."""
    if layer.kind == 'stem':
        home = arrangements.home(layer)
        return [_Step(_op(layer, 0, 3, NO_TABLE), None, home)]
    source, first = arrangements.reading(layer.reads, whole=layer.kind == 'head')
    steps = _copies(source, arrangements)
    if layer.base is not None:
        steps += _copies(arrangements.reading(layer.base)[0], arrangements)
    if layer.kind == 'head':
        return [*steps, _Step(_op(layer, first, len(layer.reads), NO_TABLE), source, None)]
    home = arrangements.home(layer)
    return [*steps, _Step(_op(layer, first, len(layer.reads), _table(home, layer.channels)), source, home)]


def _copies(wanted: Arrangement, arrangements: Arrangements) -> list[_Step]:
    """Bring the channels that other arrangements hold, in runs of neighbors."""
    if wanted.filled:
        return []
    runs: list[tuple[Arrangement, list[int]]] = []
    missing = [(arrangements.older(channel), channel) for channel in arrangements.missing(wanted).tolist()]
    missing.sort(key=lambda found: (arrangements.all.index(found[0]), found[0].place[found[1]]))
    for older, channel in missing:
        if runs and runs[-1][0] is older and older.place[runs[-1][1][-1]] + 1 == older.place[channel]:
            runs[-1][1].append(channel)
        else:
            runs.append((older, [channel]))
    empty = np.zeros(0, np.float32)
    steps = []
    for older, run in runs:
        table, first = _table(wanted, np.array(run)), older.place[run[0]]
        op = Op('copy', None, None, len(run), empty, empty, table, first)
        steps += [*_copies(older, arrangements), _Step(op, older, wanted)]
    arrangements.fill(wanted)
    return steps


def _table(home: Arrangement, channels: Ids) -> Array:
    return np.array([home.place[channel] for channel in channels.tolist()], np.uint32)


def _op(layer: Layer, first: int, count: int, table: Array) -> Op:
    weights, bias = layer.weights.astype(np.float32), layer.bias.astype(np.float32)
    return Op(layer.kind, None, None, count, weights, bias, table, first, layer.groups, layer.stride,
              layer.relu, layer.base is not None, layer.pool, layer.pad)


# What arrangements must agree in to share a map: its shape, and whether values below 0 occur.
_Shape = tuple[Map, bool]


def _shapes(arrangements: Arrangements, layers: list[Layer]) -> dict[Arrangement, _Shape]:
    """Each arrangement's shape, of the layers whose channels it has."""
    layer_of = {channel: layer for layer in layers for channel in layer.channels.tolist()}
    shapes = {}
    for arrangement in arrangements.all:
        members = [layer_of[channel] for channel in arrangement.channels.tolist()]
        shapes[arrangement] = (Map(len(members), *members[0].size), any(layer.signed for layer in members))
    return shapes


def _choose_maps(steps: list[_Step], shapes: dict[Arrangement, _Shape]
                 ) -> tuple[tuple[Map, ...], dict[Arrangement, int]]:
    """Maps, and which one each arrangement gets: one of its shape that nobody needs from then on."""
    last: dict[Arrangement, int] = {}
    for now, step in enumerate(steps):
        for used in (step.source, step.target, step.target and step.target.follows):
            if used is not None:
                last[used] = now
    maps: list[_Shape] = []
    holds: list[Arrangement] = []
    chosen: dict[Arrangement, int] = {}
    for now, step in enumerate(steps):
        wanted = step.target
        if wanted is None or wanted in chosen:
            continue
        if wanted.follows is not None:
            if last[wanted.follows] > now:
                raise UnsupportedGraphError('a sum one of whose parts is used again')
            chosen[wanted] = chosen[wanted.follows]
        else:
            free = [i for i, shape in enumerate(maps) if shape == shapes[wanted] and last[holds[i]] < now]
            chosen[wanted] = free[0] if free else len(maps)
        if chosen[wanted] == len(maps):
            maps.append(shapes[wanted])
            holds.append(wanted)
        holds[chosen[wanted]] = wanted
    return tuple(shape[0] for shape in maps), chosen


def _index(chosen: dict[Arrangement, int], arrangement: Arrangement | None) -> int | None:
    return None if arrangement is None else chosen[arrangement]


def _check_limits(maps: tuple[Map, ...], ops: tuple[Op, ...]) -> None:
    widest = max([m.channels for m in maps] + [op.outputs for op in ops[:-1]])
    for count, limit, what in ((len(maps), MAX_MAPS, 'maps'), (len(ops), MAX_OPS, 'operations'),
                               (widest, MAX_CHANNELS, 'channels'), (ops[-1].outputs, MAX_CLASSES, 'classes')):
        if count > limit:
            raise UnsupportedGraphError(f'{count} {what}: expected at most {limit}')
