# SPDX-License-Identifier: Apache-2.0
"""Decide which channels are stored next to each other, so that each layer reads neighbors.

An arrangement is a row of channels that some map holds for a while. A layer writes into the arrangement that
its reader needs, in that order. What a reader needs from an older arrangement is copied.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from shufflenet_ros.packer.errors import UnsupportedGraphError
from shufflenet_ros.packer.layers import Ids, Layer

_NONE = np.zeros(0, np.int64)


@dataclass(eq=False)
class Arrangement:
    """Channels in the order in which they are stored.

    Attributes:
        base: the arrangement to which these values are added, channel by channel.
        complete: all its channels are there, as somebody has read it.
        position: channel -> its index.
    """

    channels: Ids
    base: 'Arrangement | None' = None
    complete: bool = False
    position: dict[int, int] = field(init=False)

    def __post_init__(self) -> None:
        self.position = {channel: index for index, channel in enumerate(self.channels.tolist())}

    def find(self, channels: Ids) -> int | None:
        """Index of the first of these channels, if they are neighbors here in this order."""
        start = self.position.get(int(channels[0]), -1)
        same = start >= 0 and np.array_equal(self.channels[start:start + len(channels)], channels)
        return start if same else None


class Arrangements:
    """The arrangements of all layers, which are given in the order in which they run."""

    def __init__(self, layers: list[Layer], split_tensors: Iterable[Ids]):
        self.all: list[Arrangement] = []
        stem, head = layers[0], layers[-1]
        read = [channels for layer in layers[1:-1] for channels in (layer.reads, layer.adds_to)
                if channels is not None]
        # The stem fills a map and the head reads one, each as a whole.
        for channels in (stem.channels, head.reads):
            if not any(np.array_equal(channels, other.channels) for other in self.all):
                self.all.append(Arrangement(channels))
        # Long ones first, as they may contain short ones.
        for channels in sorted([*split_tensors, *read], key=len, reverse=True):
            if self._search(channels) is None:
                self.all.append(Arrangement(channels))
        self._targets = {layer: self._choose_target(layer, layers) for layer in layers[:-1]}
        self._last_read: dict[int, Arrangement] = {}  # by channel
        for layer in layers:
            if layer.adds_to is not None:
                self._add_in_place(layer, layer.adds_to)

    def source_of(self, channels: Ids, *, whole: bool = False) -> tuple[Arrangement, int]:
        """The arrangement where a layer reads channels, and the index of the first.

        whole: the arrangement has no other channels.
        """
        found = self._search(channels, whole)
        assert found is not None
        return found

    def target_of(self, layer: Layer) -> Arrangement:
        """Where a layer writes."""
        return self._targets[layer]

    def to_copy(self, wanted: Arrangement) -> Ids:
        """The channels that no layer writes there."""
        written = [layer.channels for layer, target in self._targets.items() if target is wanted]
        return wanted.channels[~np.isin(wanted.channels, np.concatenate([_NONE, *written]))]

    def copy_source(self, channel: int) -> Arrangement:
        """Where to copy a channel from: the arrangement read last, or else the one that its layer writes."""
        if channel in self._last_read:
            return self._last_read[channel]
        return next(target for layer, target in self._targets.items() if channel in layer.channels)

    def mark_complete(self, wanted: Arrangement) -> None:
        """All of its channels are there from now on."""
        wanted.complete = True
        self._last_read |= dict.fromkeys(wanted.channels.tolist(), wanted)

    def _search(self, channels: Ids, whole: bool = False) -> tuple[Arrangement, int] | None:
        for arrangement in self.all:
            start = arrangement.find(channels)
            if start is not None and not (whole and len(arrangement.channels) > len(channels)):
                return arrangement, start
        return None

    def _choose_target(self, layer: Layer, layers: list[Layer]) -> Arrangement:
        """The first to be read of those with all of the layer's channels, or one of its own."""
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
        """Let a sum be formed where its first operand is."""
        target, (base, start) = self.target_of(layer), self.source_of(adds_to)
        indices = [target.position[channel] for channel in layer.channels.tolist()]
        whole = len(target.channels) == len(base.channels) == len(indices)
        if not whole or indices != list(range(start, start + len(indices))):
            raise UnsupportedGraphError('a sum whose operands are in another order than its reader needs')
        target.base = base
