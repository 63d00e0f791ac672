# SPDX-License-Identifier: Apache-2.0
"""Choose images for calibrating a quantizer: balanced over the classes, and the same on every machine.

The card of a quantized model has no images, only their digest.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from shufflenet_ros.core.card import CardInput
from shufflenet_ros.core.frame import DecodedImage
from shufflenet_ros.core.opencv import cv2
from shufflenet_ros.core.preprocess import preprocess
from shufflenet_ros.core.reasons import FrameError
from shufflenet_ros.core.text import printable
from shufflenet_ros.datasets.errors import DatasetError
from shufflenet_ros.datasets.holdout import holdout_split
from shufflenet_ros.datasets.labeled_dataset import LabeledDataset
from shufflenet_ros.datasets.open_dataset import open_dataset

DEFAULT_COUNT = 256
TRAIN = 'train'


@dataclass(frozen=True)
class Calibration:
    """Input tensors for a bundle.

    Attributes:
        inputs: (N, *spec.shape[1:]), of the card's dtype.
        names: of the samples.
        targets: (N,) index of each class in the dataset's labels.
        source: the dataset's name and split, or synthetic.
        seed: of the choice.
        requested: number of images; N is smaller if the dataset has fewer.
        unusable: number of images that were tried and cannot be used.
    """

    inputs: npt.NDArray[Any]
    names: tuple[str, ...]
    targets: npt.NDArray[np.int64]
    source: str
    seed: int
    requested: int
    unusable: int = 0

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the inputs' bytes."""
        return hashlib.sha256(self.inputs.tobytes()).hexdigest()

    @property
    def summary(self) -> str:
        """One line about the images, for a card."""
        count, classes = len(self.names), len(np.unique(self.targets))
        of = f' of {classes} classes' if classes > 1 else ''
        fewer = f' ({self.requested} requested)' if count < self.requested else ''
        unusable = f', {self.unusable} unusable images left out' if self.unusable else ''
        return f'{self.source}: {count} images{of}{fewer}{unusable}, seed {self.seed}, sha256 {self.digest}'


def calibration_inputs(path: str | Path, spec: CardInput, count: int = DEFAULT_COUNT, seed: int = 0,
                       split: str = '', *, hold_out: bool = False) -> Calibration:
    """Choose training images, the same number from each class if it has enough.

    The choice depends only on the seed and the names: it is the same on every machine, and the same for a
    folder and a tar of it.

    Args:
        path: folder, tar or labeled bag.
        split: such as train; '' means `train` if the dataset has splits, else everything.
        hold_out: do not use the images that `holdout_split` holds out of a dataset without splits.

    Raises:
        DatasetError: not a dataset, no such split, a count below 1, no usable image, or none to hold out.
        BagError: a damaged bag.
    """
    _check_count(count)
    dataset = _training_subset(path, split, hold_out)
    indices, tensors, unusable = _choose_usable(dataset, spec, count, seed)
    if not indices:
        raise DatasetError(f'{dataset.path}: none of its {dataset.count} images can be used for calibration; '
                           'expected images that can be decoded')
    part = f' ({dataset.split})' if dataset.split else ''
    return Calibration(
        np.concatenate([tensors[i] for i in indices]), tuple(dataset.names[i] for i in indices),
        np.array([dataset.targets[i] for i in indices], np.int64),
        f'{printable(dataset.path.name)}{part}', seed, count, unusable)


def _check_count(count: int) -> None:
    if count < 1:
        raise DatasetError(f'{count} calibration images: expected at least 1, or better {DEFAULT_COUNT}')


def _training_subset(path: str | Path, split: str, hold_out: bool) -> LabeledDataset:
    try:
        return open_dataset(path, split or TRAIN)
    except DatasetError:
        if split or (dataset := open_dataset(path)).split:
            raise
        return holdout_split(dataset)[0] if hold_out else dataset


def _choose_usable(dataset: LabeledDataset, spec: CardInput, count: int, seed: int
                   ) -> tuple[list[int], dict[int, npt.NDArray[Any]], int]:
    """Indices of the first `count` usable images, tensors by index, and the number of unusable images.

    Each pass decodes as many spare images as unusable ones were found: so one pass is enough if all images
    are usable, and a few if most are not.
    """
    hashed = sorted(range(dataset.count), key=lambda i: _hash(seed, dataset.names[i]))
    tensors: dict[int, npt.NDArray[Any]] = {}
    unusable: set[int] = set()
    while True:
        order = _round_robin(dataset.targets, [i for i in hashed if i not in unusable])
        if tensors.keys() >= set(order[:count]):
            return order[:count], tensors, len(unusable)
        missing = sorted(set(order[:count + len(unusable)]) - tensors.keys())
        for i, sample in zip(missing, dataset.samples_at(missing), strict=True):
            try:
                tensors[i] = preprocess(sample.image(), spec)
            except FrameError:
                unusable.add(i)


def _hash(seed: int, name: str) -> bytes:
    return hashlib.sha256(f'{seed} {name}'.encode('utf-8', 'surrogateescape')).digest()[:8]


def _round_robin(targets: Sequence[int], indices: Sequence[int]) -> list[int]:
    """The first image of each class, then the second of each, ...; in the given order within each round."""
    rounds: Counter[int] = Counter()
    round_of = {}
    for i in indices:
        round_of[i] = rounds[targets[i]]
        rounds[targets[i]] += 1
    return sorted(indices, key=round_of.__getitem__)


def reference_inputs(spec: CardInput, count: int = DEFAULT_COUNT, seed: int = 0) -> Calibration:
    """Seeded synthetic images, for a reference network without a dataset.

    Raises:
        DatasetError: a count below 1.
    """
    _check_count(count)
    inputs = np.concatenate([preprocess(image, spec) for image in seeded_images(spec.size, count, seed)])
    names = tuple(f'synthetic {index} of seed {seed}' for index in range(count))
    return Calibration(inputs, names, np.zeros(count, np.int64), 'synthetic', seed, count)


def seeded_images(size: tuple[int, int], samples: int, seed: int = 0) -> Iterator[DecodedImage]:
    """(H, W, 3) uint8 RGB images: smooth random colors with a little noise, a bit like photos."""
    rng = np.random.default_rng(seed)
    for index in range(samples):
        grid = rng.uniform(0, 255, (3 + index % 14, 3 + index % 14, 3)).astype(np.float32)
        soft = cv2.resize(grid, size[::-1], interpolation=cv2.INTER_CUBIC)
        noisy = soft + rng.normal(0, 12, soft.shape)
        yield DecodedImage(np.clip(noisy, 0, 255).astype(np.uint8), 'rgb')
