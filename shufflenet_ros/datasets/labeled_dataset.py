# SPDX-License-Identifier: Apache-2.0
"""What every labeled dataset provides: samples, each with the class that it shows."""

from abc import abstractmethod
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from shufflenet_ros.core.reasons import FrameError


@dataclass(frozen=True)
class Sample:
    """One labeled image.

    Attributes:
        name: its path inside the dataset; in a bag its topic and time.
        target: index of its class in the dataset's labels.
        message: what `core.decode` accepts, or the reason why there is none.
    """

    name: str
    target: int
    message: Any | FrameError


class LabeledDataset(Protocol):
    """Images that each belong to one class.

    Attributes:
        path: of the folder, tar or bag.
        split: the split that was opened, '' where the dataset has none.
        labels: class names of all splits, sorted, so that train and val share their indices.
        targets: the class of each sample, as an index into labels.
        names: the name of each sample.
        left_out: how many files or frames are no samples, by cause.
    """

    path: Path
    split: str
    labels: tuple[str, ...]
    targets: tuple[int, ...]
    names: tuple[str, ...]
    left_out: Mapping[str, int]

    @property
    def count(self) -> int:
        """Number of samples."""
        return len(self.targets)

    def samples(self, limit: int = 0) -> Iterator[Sample]:
        """The samples in the dataset's order; with a limit at most that many, evenly spread.

        Raises:
            DatasetError, BagError: the dataset is damaged, or changed after it was opened.
        """
        return self.samples_at(evenly_spaced(self.count, limit))

    @abstractmethod
    def samples_at(self, indices: Container[int]) -> Iterator[Sample]:
        """The samples at these indices, in the dataset's order; the others are not read.

        Raises:
            DatasetError, BagError: see `samples`.
        """


def evenly_spaced(count: int, limit: int) -> range | set[int]:
    """Indices of at most `limit` of `count` samples, evenly spread; all where limit is 0."""
    if not 0 < limit < count:
        return range(count)
    return {i * count // limit for i in range(limit)}
