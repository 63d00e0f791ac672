"""What a quantizer looks at: a balanced, repeatable choice of images, as the tensors a bundle is fed.

Ranges of activations go into a card, images nowhere; the digest says what the ranges were taken from.
"""

import hashlib
from collections import Counter
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from shufflenet_ros.core.card import CardInput
from shufflenet_ros.core.classifier import DEFAULT_MAX_PIXELS
from shufflenet_ros.core.decode import decode
from shufflenet_ros.core.frame import DecodedImage
from shufflenet_ros.core.opencv import cv2
from shufflenet_ros.core.preprocess import preprocess
from shufflenet_ros.core.reasons import FrameError, printable
from shufflenet_ros.datasets.errors import DatasetError
from shufflenet_ros.datasets.holdout import holdout_split
from shufflenet_ros.datasets.open import open_set
from shufflenet_ros.datasets.sample import LabeledDataset, Sample

DEFAULT_COUNT = 256
TRAIN = 'train'


@dataclass(frozen=True)
class Calibration:
    """Tensors to run a bundle on.

    Attributes:
        inputs: (N, *spec.shape[1:]), of the card's dtype.
        names: where in the set each comes from.
        targets: (N,) index of its class in the set's labels.
        source: what they are of.
        seed: of the choice.
        asked: how many were wanted; N is smaller where the set has fewer.
        bad: images that were met and could not be used.
        digest: sha256 of the inputs' bytes.
    """

    inputs: npt.NDArray[Any]
    names: tuple[str, ...]
    targets: npt.NDArray[np.int64]
    source: str
    seed: int
    asked: int
    bad: int
    digest: str

    @property
    def summary(self) -> str:
        """What a card says of them, in one line."""
        count, classes = len(self.names), len(np.unique(self.targets))
        of = f' of {classes} classes' if classes > 1 else ''
        fewer = f' ({self.asked} were asked for)' if count < self.asked else ''
        bad = f', {self.bad} bad ones left out' if self.bad else ''
        return f'{self.source}: {count} images{of}{fewer}{bad}, seed {self.seed}, sha256 {self.digest}'


def calibration_inputs(path: str | Path, spec: CardInput, count: int = DEFAULT_COUNT, seed: int = 0,
                       split: str = '', *, hold_out: bool = False) -> Calibration:
    """Choose training images, the same number of each class as far as there are enough.

    An image's chance hangs on seed and name alone: the choice is the same on every machine, and the same
    for a folder and a tar of it. Fewer than `count` come back where the set has fewer.

    Args:
        path: folder, tar or labeled bag.
        split: such as train; '' takes `train` where the set has splits, everything where it has none.
        hold_out: of a set without splits leave out what `holdout_split` holds out to judge by.

    Raises:
        DatasetError: no set, no such split, a count below 1, no image that can be used, or none to hold out.
        BagError: a damaged bag.
    """
    _check(count)
    dataset = _training_part(path, split, hold_out)
    places, tensors, bad = _usable(dataset, spec, count, seed)
    if not places:
        raise DatasetError(f'{dataset.path}: none of its {dataset.count} images can be used for calibration')
    inputs = np.concatenate([tensors[place] for place in places])
    part = f' ({dataset.split})' if dataset.split else ''
    return Calibration(
        inputs, tuple(dataset.names[place] for place in places),
        np.array([dataset.targets[place] for place in places], np.int64),
        f'{printable(dataset.path.name)}{part}', seed, count, bad, _digest(inputs))


def _check(count: int) -> None:
    if count < 1:
        raise DatasetError(f'{count} calibration images: expected at least 1, or better {DEFAULT_COUNT}')


def _training_part(path: str | Path, split: str, hold_out: bool) -> LabeledDataset:
    try:
        return open_set(path, split or TRAIN)
    except DatasetError:
        if split or (whole := open_set(path)).split:
            raise
        return holdout_split(whole)[0] if hold_out else whole


def _usable(dataset: LabeledDataset, spec: CardInput, count: int, seed: int
            ) -> tuple[list[int], dict[int, npt.NDArray[Any]], int]:
    """The places of the first `count` usable images, tensors of these and perhaps more, and the bad ones.

    Each pass decodes as many spare ones as bad ones were met, so that a set full of bad ones is gone
    through in few passes, and a good one in one.
    """
    lots = [_hash_rank(seed, name) for name in dataset.names]
    tensors: dict[int, npt.NDArray[Any]] = {}
    bad: set[int] = set()
    while True:
        places = _round_robin(dataset.targets, lots, bad)
        unseen = sorted(set(places[:count + len(bad)]) - set(tensors))
        if not set(places[:count]) - set(tensors):
            return places[:count], tensors, len(bad)
        for place, sample in zip(unseen, dataset.at(set(unseen)), strict=True):
            tensor = _tensor(sample, spec)
            if tensor is None:
                bad.add(place)
            else:
                tensors[place] = tensor


def _hash_rank(seed: int, name: str) -> int:
    """A number that decides who is chosen; the smallest are."""
    text = f'{seed} {name}'.encode('utf-8', 'surrogateescape')
    return int.from_bytes(hashlib.sha256(text).digest()[:8], 'big')


def _round_robin(targets: tuple[int, ...], lots: list[int], without: Container[int]) -> list[int]:
    """The best place of each class, then the second of each, ...; within a turn by lot, not by alphabet."""
    turns: Counter[int] = Counter()
    order = []
    for lot, place in sorted((lot, place) for place, lot in enumerate(lots) if place not in without):
        order.append((turns[targets[place]], lot, place))
        turns[targets[place]] += 1
    return [place for _, _, place in sorted(order)]


def _tensor(sample: Sample, spec: CardInput) -> npt.NDArray[Any] | None:
    try:
        return None if isinstance(sample.message, FrameError) else preprocess(
            decode(sample.message, DEFAULT_MAX_PIXELS), spec)
    except FrameError:
        return None


def reference_inputs(spec: CardInput, count: int = DEFAULT_COUNT, seed: int = 0) -> Calibration:
    """Seeded synthetic images, for a reference network that no set belongs to.

    Raises:
        DatasetError: a count below 1.
    """
    _check(count)
    images = seeded_images(spec.size, count, seed)
    inputs = np.concatenate([preprocess(image, spec) for image in images])
    names = tuple(f'synthetic {index} of seed {seed}' for index in range(count))
    return Calibration(inputs, names, np.zeros(count, np.int64), 'synthetic', seed, count, 0,
                       _digest(inputs))


def seeded_images(size: tuple[int, int], samples: int, seed: int = 0) -> Iterator[DecodedImage]:
    """(H, W, 3) uint8 RGB: soft blotches of random colors with a little noise, a bit like photos."""
    rng = np.random.default_rng(seed)
    for index in range(samples):
        grid = rng.uniform(0, 255, (3 + index % 14, 3 + index % 14, 3)).astype(np.float32)
        soft = cv2.resize(grid, size[::-1], interpolation=cv2.INTER_CUBIC)
        noisy = soft + rng.normal(0, 12, soft.shape)
        yield DecodedImage(np.clip(noisy, 0, 255).astype(np.uint8), 'rgb')


def _digest(inputs: npt.NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(inputs).tobytes()).hexdigest()
