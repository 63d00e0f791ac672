# SPDX-License-Identifier: Apache-2.0
"""Turn layers into operations on few maps. A map is used again as soon as nothing needs what it holds."""

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


def _steps(layer: Layer, arrangements: Arrangements) -> list[_Step]:
    """The layer's operation, after the copies that complete what it reads."""
    if layer.kind == 'stem':
        return [_Step(_op(layer, 0, 3, NO_TABLE), None, arrangements.target_of(layer))]
    source, first = arrangements.source_of(layer.reads, whole=layer.kind == 'head')
    steps = _copies(source, arrangements)
    if layer.adds_to is not None:
        steps += _copies(arrangements.source_of(layer.adds_to)[0], arrangements)
    target = None if layer.kind == 'head' else arrangements.target_of(layer)
    table = _table(target, layer.channels) if target else NO_TABLE
    return [*steps, _Step(_op(layer, first, len(layer.reads), table), source, target)]


def _copies(wanted: Arrangement, arrangements: Arrangements) -> list[_Step]:
    """Copies of the channels that other arrangements hold, one for each run of neighbors."""
    if wanted.complete:
        return []
    runs: list[tuple[Arrangement, list[int]]] = []
    missing = [(arrangements.copy_source(channel), channel)
               for channel in arrangements.to_copy(wanted).tolist()]
    missing.sort(key=lambda pair: (arrangements.all.index(pair[0]), pair[0].position[pair[1]]))
    for source, channel in missing:
        last, run = runs[-1] if runs else (None, [])
        if last is source and source.position[run[-1]] + 1 == source.position[channel]:
            run.append(channel)
        else:
            runs.append((source, [channel]))
    empty = np.zeros(0, np.float32)
    steps = []
    for source, run in runs:
        table, first = _table(wanted, np.array(run)), source.position[run[0]]
        op = Op('copy', None, None, len(run), empty, empty, table, first)
        steps += [*_copies(source, arrangements), _Step(op, source, wanted)]
    arrangements.mark_complete(wanted)
    return steps


def _table(target: Arrangement, channels: Ids) -> Array:
    return np.array([target.position[channel] for channel in channels.tolist()], np.uint32)


def _op(layer: Layer, first: int, count: int, table: Array) -> Op:
    weights, bias = layer.weights.astype(np.float32), layer.bias.astype(np.float32)
    return Op(layer.kind, None, None, count, weights, bias, table, first, layer.groups, layer.stride,
              layer.relu, layer.adds_to is not None, layer.pool, layer.pad)


# What arrangements in the same map must have in common: its shape, and whether values can be negative.
_Shape = tuple[Map, bool]


def _shapes(arrangements: Arrangements, layers: list[Layer]) -> dict[Arrangement, _Shape]:
    layer_of = {channel: layer for layer in layers for channel in layer.channels.tolist()}
    shapes = {}
    for arrangement in arrangements.all:
        members = [layer_of[channel] for channel in arrangement.channels.tolist()]
        shapes[arrangement] = (Map(len(members), *members[0].size), any(layer.signed for layer in members))
    return shapes


def _choose_maps(steps: list[_Step], shapes: dict[Arrangement, _Shape]
                 ) -> tuple[tuple[Map, ...], dict[Arrangement, int]]:
    """The maps, and each arrangement's map: one of its shape that nothing needs any more, or a new one."""
    last_use: dict[Arrangement, int] = {}
    for now, step in enumerate(steps):
        for used in (step.source, step.target, step.target and step.target.base):
            if used is not None:
                last_use[used] = now
    maps: list[_Shape] = []
    holds: list[Arrangement] = []  # by map
    chosen: dict[Arrangement, int] = {}
    for now, wanted in enumerate(step.target for step in steps):
        if wanted is None or wanted in chosen:
            continue
        if wanted.base is not None:
            if last_use[wanted.base] > now:
                raise UnsupportedGraphError('a sum that overwrites an operand which is used again')
            index = chosen[wanted.base]
        else:
            index = next((i for i, shape in enumerate(maps)
                          if shape == shapes[wanted] and last_use[holds[i]] < now), len(maps))
        if index == len(maps):
            maps.append(shapes[wanted])
            holds.append(wanted)
        chosen[wanted], holds[index] = index, wanted
    return tuple(shape[0] for shape in maps), chosen


def _check_limits(maps: tuple[Map, ...], ops: tuple[Op, ...]) -> None:
    widest = max([m.channels for m in maps] + [op.outputs for op in ops[:-1]])
    for count, limit, what in ((len(maps), MAX_MAPS, 'maps'), (len(ops), MAX_OPS, 'operations'),
                               (widest, MAX_CHANNELS, 'channels'), (ops[-1].outputs, MAX_CLASSES, 'classes')):
        if count > limit:
            raise UnsupportedGraphError(f'{count} {what}: expected at most {limit}')
