"""The values of every labeled set."""

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from shufflenet_ros.core.reasons import FrameError


@dataclass(frozen=True)
class Sample:
    """One labeled image.

    Attributes:
        name: where it is in its set, for reports.
        target: index of its class in the set's labels.
        message: what `core.decode` takes, or why there is none.
    """

    name: str
    target: int
    message: Any | FrameError


class LabeledDataset(Protocol):
    """Images that each belong to one class.

    Attributes:
        path: of the folder, tar or bag.
        split: the part that was asked for, '' where there are none.
        labels: class names, sorted; those of all splits, so that train and val count alike.
        count: its samples.
        targets: (count,) the class of each, as an index into labels.
        names: (count,) where each is in the set.
        left_out: what of the set is no sample, by cause; empty where nothing is.
    """

    @property
    def path(self) -> Path: ...  # noqa: D102
    @property
    def split(self) -> str: ...  # noqa: D102
    @property
    def labels(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def count(self) -> int: ...  # noqa: D102
    @property
    def targets(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def names(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def left_out(self) -> Mapping[str, int]: ...  # noqa: D102

    def samples(self, limit: int = 0) -> Iterator[Sample]:
        """The samples in the set's order; with a limit that many at most, spread over the whole.

        Raises:
            DatasetError, BagError: damage on the way, or a set that changed after it was opened.
        """

    def at(self, places: Container[int]) -> Iterator[Sample]:
        """The samples at these places, in the set's order; the others are not read.

        Raises:
            DatasetError, BagError: see `samples`.
        """


def spread(count: int, limit: int) -> range | set[int]:
    """The places of at most `limit` of `count` samples, evenly spread; all where limit is 0."""
    if not 0 < limit < count:
        return range(count)
    return {i * count // limit for i in range(limit)}
