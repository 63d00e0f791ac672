# SPDX-License-Identifier: Apache-2.0
"""Labeled images of any source: folder, tar or bag."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from shufflenet_ros.core.classifier import DEFAULT_MAX_PIXELS
from shufflenet_ros.core.decode import decode
from shufflenet_ros.core.frame import DecodedImage
from shufflenet_ros.core.reasons import FrameError


@dataclass(frozen=True)
class Sample:
    """One labeled image.

    Attributes:
        name: path inside the dataset; in a bag the topic and time.
        target: index of the class in the dataset's labels.
        message: an input for `core.decode`, or the reason why there is none.
    """

    name: str
    target: int
    message: Any | FrameError

    def image(self) -> DecodedImage:
        """The decoded image.

        Raises:
            FrameError: there is no message, or it cannot be decoded.
        """
        if isinstance(self.message, FrameError):
            raise self.message
        return decode(self.message, DEFAULT_MAX_PIXELS)


@dataclass(frozen=True)
class LabeledDataset:
    """Images that each belong to one class.

    Attributes:
        path: of the folder, tar or bag.
        split: the split that was opened; '' if the dataset has none.
        labels: class names of all splits, sorted, so that train and val share their indices.
        names, targets: of each sample, see `Sample`.
        left_out: number of files or frames that are not samples, by cause.
        read: (indices of samples, ascending) -> their messages.
    """

    path: Path
    split: str
    labels: tuple[str, ...]
    names: tuple[str, ...]
    targets: tuple[int, ...]
    left_out: Mapping[str, int]
    read: Callable[[Sequence[int]], Iterator[Any | FrameError]]

    @property
    def count(self) -> int:
        """Number of samples."""
        return len(self.targets)

    def samples(self, limit: int = 0) -> Iterator[Sample]:
        """All samples in the dataset's order, or at most `limit`, evenly spaced.

        Raises:
            DatasetError, BagError: the dataset is damaged, or changed after it was opened.
        """
        return self.samples_at(evenly_spaced(self.count, limit))

    def samples_at(self, indices: Iterable[int]) -> Iterator[Sample]:
        """The samples at these indices, in the dataset's order; no others are read.

        Raises:
            DatasetError, BagError: see `samples`.
        """
        ascending = sorted(indices)
        for i, message in zip(ascending, self.read(ascending)):
            yield Sample(self.names[i], self.targets[i], message)

    def subset(self, indices: Sequence[int], split: str) -> 'LabeledDataset':
        """A dataset with only the samples at these ascending indices."""
        return replace(self, split=split, names=tuple(self.names[i] for i in indices),
                       targets=tuple(self.targets[i] for i in indices),
                       read=lambda chosen: self.read([indices[i] for i in chosen]))


def evenly_spaced(count: int, limit: int) -> Sequence[int]:
    """Indices of at most `limit` of `count` samples, evenly spaced; all if limit is 0."""
    return [i * count // limit for i in range(limit)] if 0 < limit < count else range(count)
