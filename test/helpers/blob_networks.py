# SPDX-License-Identifier: Apache-2.0
"""Random int8 networks whose values vary over the steps and seldom saturate."""

from dataclasses import dataclass, field

import numpy as np

from shufflenet_ros.packer.network import NO_TABLE, Array, Map, Network, Op

ZERO = -60
"""The steps of every map are around this; their deviation is SPREAD."""
SPREAD = 50


@dataclass
class NetworkDraft:
    """A growing network: each method adds an operation; maps are numbers."""

    rng: np.random.Generator
    size: tuple[int, int]
    maps: list[Map] = field(default_factory=list)
    ops: list[Op] = field(default_factory=list)

    def map(self, channels: int, like: int, stride: int = 1) -> int:
        """A map of another's size, or of half of it."""
        other = self.maps[like]
        self.maps.append(Map(channels, -(-other.height // stride), -(-other.width // stride)))
        return len(self.maps) - 1

    def stem(self, channels: int, pool: str) -> int:
        """The frame to a new map."""
        divisor = 4 if pool else 2
        self.maps.append(Map(channels, self.size[0] // divisor, self.size[1] // divisor))
        weights, bias, multiplier = self._parts((channels, 3, 3, 3), 0, 60)
        pad = tuple(float(value) for value in self.rng.integers(-20, 20, 3))
        self.ops.append(Op('stem', None, 0, 3, weights, bias, NO_TABLE, stride=2, pool=pool, pad=pad,  # type: ignore
                           multiplier=multiplier))
        return 0

    def pointwise(self, source: int, target: int, table: Array, first: int = 0, groups: int = 1,
                  residual: bool = False, signed: bool = False) -> None:
        """A 1x1 convolution of the channels from the first on to the target's channels of the table."""
        count = self.maps[source].channels - first
        weights, bias, multiplier = self._parts((len(table), count // groups), 0 if signed else ZERO, SPREAD)
        self.ops.append(Op('pointwise', source, target, count, weights, bias, _table(table), first=first,
                           groups=groups, residual=residual, multiplier=multiplier,
                           residual_multiplier=int(self.rng.integers(9000, 32768)) if residual else 0))

    def depthwise(self, source: int, target: int, table: Array, stride: int, signed: bool = True) -> None:
        """A 3x3 convolution of each of the source's channels, which are ReLU outputs."""
        weights, bias, multiplier = self._parts((len(table), 3, 3), ZERO, SPREAD, 0 if signed else ZERO)
        self.ops.append(Op('depthwise', source, target, len(table), weights, bias, _table(table),
                           stride=stride, multiplier=multiplier, unsigned=bool(self.rng.integers(4))))

    def copy(self, source: int, target: int, table: Array, first: int) -> None:
        """Unchanged channels."""
        self.ops.append(Op('copy', source, target, len(table), np.zeros(0, np.int8), np.zeros(0, np.int32),
                           _table(table), first=first))

    def finish(self, source: int, classes: int) -> Network:
        """Add the head; returns the network."""
        last = self.maps[source]
        weights = self.rng.integers(-127, 128, (classes, last.channels)).astype(np.int8)
        bias = self.rng.normal(0, 1, classes).astype(np.float32)
        self.ops.append(Op(
            'head', source, None, last.channels, weights, bias, NO_TABLE,
            multiplier=self.rng.uniform(1e-4, 1e-3, classes).astype(np.float32),
            scale=float(np.float32(1.3 / (last.height * last.width)))))
        return Network('int8', self.size, tuple(self.maps), tuple(self.ops), '00' * 32,
                       embedding_scale=float(np.float32(0.0173)))

    def order(self, channels: int, first: int = 0) -> Array:
        """These channels, shuffled."""
        return first + self.rng.permutation(channels)

    def _parts(self, shape: tuple[int, ...], zero: int, spread: int, target: int = ZERO
               ) -> tuple[Array, Array, Array]:
        """Weights, biases and multipliers for inputs about `zero` and outputs about `target`."""
        weights = self.rng.integers(-127, 128, shape).astype(np.int8)
        products = int(np.prod(shape[1:]))
        multiplier = SPREAD * 2**19 / (spread * 73 * np.sqrt(products)) * self.rng.uniform(0.7, 1.4, shape[0])
        multiplier = np.clip(np.rint(multiplier), 256, 32767)
        sums = weights.reshape(shape[0], -1).sum(1, dtype=np.int64)
        bias = np.rint((target + self.rng.normal(0, 15, shape[0])) * 2**19 / multiplier) - zero * sums
        return weights, bias.astype(np.int32), multiplier.astype(np.int16)


def _table(channels: Array) -> Array:
    return np.asarray(channels).astype(np.uint32)


Stages = tuple[tuple[int, int], ...]


def shuffle_v1(size: tuple[int, int], *, groups: int, stages: Stages, classes: int, stem: int = 12,
               pool: str = 'both', seed: int = 0) -> Network:
    """Like ShuffleNet v1. stages: (channels, units) of each."""
    draft = NetworkDraft(np.random.default_rng(seed), size)
    now = draft.stem(stem, pool)
    for stage, (channels, units) in enumerate(stages):
        for unit in range(units):
            have, stride = draft.maps[now].channels, 1 if unit else 2
            added = channels if unit else channels - have
            middle = channels // 4 // groups * groups
            inner, outer = draft.map(middle, now), draft.map(middle, now, stride)
            target = now if unit else draft.map(channels, now, 2)
            first = 1 if not stage and not unit else groups
            draft.pointwise(now, inner, draft.order(middle), groups=first)
            draft.depthwise(inner, outer, np.arange(middle), stride)
            draft.pointwise(outer, target, np.arange(added), groups=groups, residual=unit > 0, signed=True)
            if not unit:
                draft.depthwise(now, target, np.arange(added, channels), 2, signed=False)
            now = target
    return draft.finish(now, classes)


def shuffle_v2(size: tuple[int, int], *, stages: Stages, last: int, classes: int, stem: int = 24,
               pool: str = 'both', seed: int = 0) -> Network:
    """Like ShuffleNet v2. stages: (channels of a half, units) of each."""
    draft = NetworkDraft(np.random.default_rng(seed), size)
    now = draft.stem(stem, pool)
    for half, units in stages:
        for unit in range(units):
            have, stride = draft.maps[now].channels, 1 if unit else 2
            table = draft.order(2 * half)
            target, inner, outer = (draft.map(2 * half, now, stride), draft.map(half, now),
                                    draft.map(half, now, stride))
            if unit:
                draft.copy(now, target, table[:half], 0)
            else:
                shrunk = draft.map(have, now, 2)
                draft.depthwise(now, shrunk, np.arange(have), 2)
                draft.pointwise(shrunk, target, table[:half], signed=True)
            draft.pointwise(now, inner, np.arange(half), first=half if unit else 0)
            draft.depthwise(inner, outer, np.arange(half), stride)
            draft.pointwise(outer, target, table[half:], signed=True)
            now = target
    end = draft.map(last, now)
    draft.pointwise(now, end, np.arange(last))
    return draft.finish(end, classes)
