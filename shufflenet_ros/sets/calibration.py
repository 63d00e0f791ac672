"""What a quantiser looks at: a balanced, repeatable choice of pictures, as the tensors a bundle is fed.

Ranges of activations go into a card, pictures nowhere; the digest says what the ranges were taken from.
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
from shufflenet_ros.core.frame import Picture
from shufflenet_ros.core.opencv import cv2
from shufflenet_ros.core.preprocess import prepare
from shufflenet_ros.core.reasons import Dropped, printable
from shufflenet_ros.sets.cut import cut
from shufflenet_ros.sets.errors import SetError
from shufflenet_ros.sets.open import open_set
from shufflenet_ros.sets.sample import LabelledSet, Sample

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
        bad: pictures that were met and could not be used.
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
        return f'{self.source}: {count} pictures{of}{fewer}{bad}, seed {self.seed}, sha256 {self.digest}'


def calibration_inputs(path: str | Path, spec: CardInput, count: int = DEFAULT_COUNT, seed: int = 0,
                       split: str = '', *, hold_out: bool = False) -> Calibration:
    """Choose training pictures, the same number of each class as far as there are enough.

    A picture's chance hangs on seed and name alone: the choice is the same on every machine, and the same
    for a folder and a tar of it. Fewer than `count` come back where the set has fewer.

    Args:
        path: folder, tar or labelled bag.
        split: such as train; '' takes `train` where the set has splits, everything where it has none.
        hold_out: of a set without splits leave out what `cut` holds out to judge by.

    Raises:
        SetError: no set, no such split, a count below 1, no picture that can be used, or none to hold out.
        BagError: a damaged bag.
    """
    _check(count)
    dataset = _training_part(path, split, hold_out)
    places, tensors, bad = _usable(dataset, spec, count, seed)
    if not places:
        raise SetError(f'{dataset.path}: none of its {dataset.count} pictures can be used for calibration')
    inputs = np.concatenate([tensors[place] for place in places])
    part = f' ({dataset.split})' if dataset.split else ''
    return Calibration(
        inputs, tuple(dataset.names[place] for place in places),
        np.array([dataset.targets[place] for place in places], np.int64),
        f'{printable(dataset.path.name)}{part}', seed, count, bad, _digest(inputs))


def _check(count: int) -> None:
    if count < 1:
        raise SetError(f'{count} calibration pictures: expected at least 1, or better {DEFAULT_COUNT}')


def _training_part(path: str | Path, split: str, hold_out: bool) -> LabelledSet:
    try:
        return open_set(path, split or TRAIN)
    except SetError:
        if split or (whole := open_set(path)).split:
            raise
        return cut(whole)[0] if hold_out else whole


def _usable(dataset: LabelledSet, spec: CardInput, count: int, seed: int
            ) -> tuple[list[int], dict[int, npt.NDArray[Any]], int]:
    """The places of the first `count` usable pictures, tensors of these and perhaps more, and the bad ones.

    Each pass decodes as many spare ones as bad ones were met, so that a set full of bad ones is gone
    through in few passes, and a good one in one.
    """
    lots = [_lot(seed, name) for name in dataset.names]
    tensors: dict[int, npt.NDArray[Any]] = {}
    bad: set[int] = set()
    while True:
        places = _in_turns(dataset.targets, lots, bad)
        unseen = sorted(set(places[:count + len(bad)]) - set(tensors))
        if not set(places[:count]) - set(tensors):
            return places[:count], tensors, len(bad)
        for place, sample in zip(unseen, dataset.at(set(unseen)), strict=True):
            tensor = _tensor(sample, spec)
            if tensor is None:
                bad.add(place)
            else:
                tensors[place] = tensor


def _lot(seed: int, name: str) -> int:
    """A number that decides who is chosen; the smallest are."""
    text = f'{seed} {name}'.encode('utf-8', 'surrogateescape')
    return int.from_bytes(hashlib.sha256(text).digest()[:8], 'big')


def _in_turns(targets: tuple[int, ...], lots: list[int], without: Container[int]) -> list[int]:
    """The best place of each class, then the second of each, ...; within a turn by lot, not by alphabet."""
    turns: Counter[int] = Counter()
    order = []
    for lot, place in sorted((lot, place) for place, lot in enumerate(lots) if place not in without):
        order.append((turns[targets[place]], lot, place))
        turns[targets[place]] += 1
    return [place for _, _, place in sorted(order)]


def _tensor(sample: Sample, spec: CardInput) -> npt.NDArray[Any] | None:
    try:
        return None if isinstance(sample.message, Dropped) else prepare(
            decode(sample.message, DEFAULT_MAX_PIXELS), spec)
    except Dropped:
        return None


def reference_inputs(spec: CardInput, count: int = DEFAULT_COUNT, seed: int = 0) -> Calibration:
    """Seeded synthetic pictures, for a reference network that no set belongs to.

    Raises:
        SetError: a count below 1.
    """
    _check(count)
    pictures = seeded_pictures(spec.size, count, seed)
    inputs = np.concatenate([prepare(picture, spec) for picture in pictures])
    names = tuple(f'synthetic {index} of seed {seed}' for index in range(count))
    return Calibration(inputs, names, np.zeros(count, np.int64), 'synthetic', seed, count, 0,
                       _digest(inputs))


def seeded_pictures(size: tuple[int, int], samples: int, seed: int = 0) -> Iterator[Picture]:
    """(H, W, 3) uint8 RGB: soft blotches of random colours with a little noise, a bit like photos."""
    rng = np.random.default_rng(seed)
    for index in range(samples):
        grid = rng.uniform(0, 255, (3 + index % 14, 3 + index % 14, 3)).astype(np.float32)
        soft = cv2.resize(grid, size[::-1], interpolation=cv2.INTER_CUBIC)
        noisy = soft + rng.normal(0, 12, soft.shape)
        yield Picture(np.clip(noisy, 0, 255).astype(np.uint8), 'rgb')


def _digest(inputs: npt.NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(inputs).tobytes()).hexdigest()
