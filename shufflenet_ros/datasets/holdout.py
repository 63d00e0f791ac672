"""A set without splits, holdout_split into a part to learn from and a part to be judged on.

The judge is the last fifth of each class, in the order of names (2 before 10) or, in a bag, of time:
neighboring frames of a video are nearly the same image, so a random fifth would be no test.
"""

import re
from collections import defaultdict
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from shufflenet_ros.bags.kinds import is_bag
from shufflenet_ros.core.reasons import printable
from shufflenet_ros.datasets.errors import DatasetError
from shufflenet_ros.datasets.sample import LabeledDataset, Sample, spread

ONE_IN = 5
HELD_OUT = 'held out'
_FEWEST = 2  # samples of a class that both parts can have some of


@dataclass(frozen=True)
class Subset:
    """Some samples of a set; see LabeledDataset.

    Attributes:
        whole: the set they are of.
        places: which of its samples.
        split: what the part is.
    """

    whole: LabeledDataset
    places: tuple[int, ...]
    split: str

    @property
    def path(self) -> Path:
        """Of the whole."""
        return self.whole.path

    @property
    def labels(self) -> tuple[str, ...]:
        """Of the whole."""
        return self.whole.labels

    @property
    def count(self) -> int:
        """Of the part."""
        return len(self.places)

    @property
    def targets(self) -> tuple[int, ...]:
        """Of the part."""
        return tuple(self.whole.targets[place] for place in self.places)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the part."""
        return tuple(self.whole.names[place] for place in self.places)

    @property
    def left_out(self) -> Mapping[str, int]:
        """Of the whole."""
        return self.whole.left_out

    def samples(self, limit: int = 0) -> Iterator[Sample]:
        """See LabeledDataset."""
        return self.at(spread(self.count, limit))

    def at(self, places: Container[int]) -> Iterator[Sample]:
        """See LabeledDataset."""
        return self.whole.at({whole for place, whole in enumerate(self.places) if place in places})


def _natural(name: str) -> list[tuple[int, str]]:
    """A key that puts frame_2 before frame_10."""
    return [(int(part) if part.isdecimal() else -1, part) for part in re.split(r'(\d+)', name)]


def holdout_split(dataset: LabeledDataset) -> tuple[Subset, Subset]:
    """The part to learn from, and the part that is held out.

    Raises:
        DatasetError: the set has splits of its own, or a class has less than two samples.
    """
    if dataset.split:
        raise DatasetError(f'{dataset.path}: has splits of its own: expected a set without, or its split val')
    by_class: dict[int, list[int]] = defaultdict(list)
    # A tar has its files in whatever order they were packed; a bag's frames come in time.
    order = range(dataset.count) if is_bag(dataset.path) else sorted(
        range(dataset.count), key=lambda place: _natural(dataset.names[place]))
    for place in order:
        by_class[dataset.targets[place]].append(place)
    held: set[int] = set()
    for target, places in by_class.items():
        if len(places) < _FEWEST:
            raise DatasetError(f'{dataset.path}: class {printable(dataset.labels[target])!r} has {len(places)} '
                           f'image: expected at least {_FEWEST}, as one is held out to validate on; add '
                           'some, or give another set for validation')
        held.update(places[len(places) - max(1, len(places) // ONE_IN):])
    learned = tuple(place for place in range(dataset.count) if place not in held)
    return Subset(dataset, learned, 'all but what is held out'), Subset(dataset, tuple(sorted(held)), HELD_OUT)
