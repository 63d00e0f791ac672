"""Which channels lie together: a layer reads neighbors, whatever shuffle, split or concatenation came.

An arrangement is a row of channels that some map holds for a while. A layer writes into the one that its
readers want, in their order; what a reader wants from an older arrangement is copied.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from shufflenet_ros.packer.errors import UnsupportedGraphError
from shufflenet_ros.packer.layers import Ids, Layer

NONE = np.zeros(0, np.int64)


@dataclass(eq=False)
class Arrangement:
    """Channels in the order in which they lie.

    Attributes:
        place: channel -> where it lies.
        follows: the arrangement whose values this one's are added to, in the same places.
        filled: it has been read, so all of it is there.
    """

    channels: Ids
    follows: 'Arrangement | None' = None
    filled: bool = False
    place: dict[int, int] = field(init=False)

    def __post_init__(self) -> None:
        self.place = {channel: index for index, channel in enumerate(self.channels.tolist())}

    def find(self, channels: Ids) -> int | None:
        """Where these begin, if they lie here as neighbors in this order."""
        start = self.place.get(int(channels[0]), -1)
        same = start >= 0 and np.array_equal(self.channels[start:start + len(channels)], channels)
        return start if same else None


class Arrangements:
    """All of them, for layers in the order in which they run."""

    def __init__(self, layers: list[Layer], wholes: Iterable[Ids]):
        self.all: list[Arrangement] = []
        stem, head = layers[0], layers[-1]
        wanted = [channels for layer in layers[1:-1] for channels in (layer.reads, layer.base)
                  if channels is not None]
        # The stem fills a map and the head reads one, each as a whole.
        for channels in (stem.channels, head.reads):
            if not any(np.array_equal(channels, other.channels) for other in self.all):
                self.all.append(Arrangement(channels))
        # Long ones first, as they may hold short ones.
        for channels in sorted([*wholes, *wanted], key=len, reverse=True):
            if self._search(channels) is None:
                self.all.append(Arrangement(channels))
        self._homes = {layer: self._home_of(layer, layers) for layer in layers[:-1]}
        self._filled: dict[int, Arrangement] = {}
        for layer in layers:
            if layer.base is not None:
                self._follow(layer)

    def reading(self, channels: Ids, *, whole: bool = False) -> tuple[Arrangement, int]:
        """Where a layer reads channels, and from which place on."""
        found = self._search(channels, whole)
        assert found is not None
        return found

    def home(self, layer: Layer) -> Arrangement:
        """Where a layer writes."""
        return self._homes[layer]

    def missing(self, wanted: Arrangement) -> Ids:
        """The channels that no layer writes there."""
        written = [layer.channels for layer, home in self._homes.items() if home is wanted]
        return wanted.channels[~np.isin(wanted.channels, np.concatenate([NONE, *written]))]

    def older(self, channel: int) -> Arrangement:
        """From where a channel is copied: what was read last, or else where its layer writes it."""
        if self._filled.get(channel):
            return self._filled[channel]
        return next(home for layer, home in self._homes.items() if channel in layer.channels)

    def fill(self, wanted: Arrangement) -> None:
        """All of it is there from now on."""
        wanted.filled = True
        self._filled |= dict.fromkeys(wanted.channels.tolist(), wanted)

    def _search(self, channels: Ids, whole: bool = False) -> tuple[Arrangement, int] | None:
        for arrangement in self.all:
            start = arrangement.find(channels)
            if start is not None and not (whole and len(arrangement.channels) > len(channels)):
                return arrangement, start
        return None

    def _home_of(self, layer: Layer, layers: list[Layer]) -> Arrangement:
        """Of the arrangements with all of the layer's channels the one that is read first, or its own."""
        own = set(layer.channels.tolist())
        if layer is layers[0]:
            return self.all[0]
        fitting = [arrangement for arrangement in self.all[1:] if own <= arrangement.place.keys()]
        for reader in layers:
            for found in fitting:
                if len(reader.reads) and found.find(reader.reads) is not None:
                    return found
        self.all.append(Arrangement(layer.channels))
        return self.all[-1]

    def _follow(self, layer: Layer) -> None:
        """A sum is formed where its first part lies."""
        assert layer.base is not None
        home, (base, start) = self.home(layer), self.reading(layer.base)
        places = [home.place[channel] for channel in layer.channels.tolist()]
        whole = len(home.channels) == len(base.channels) == len(places)
        if not whole or places != list(range(start, start + len(places))):
            raise UnsupportedGraphError('a sum whose parts lie in another order than what reads it')
        home.follows = base
