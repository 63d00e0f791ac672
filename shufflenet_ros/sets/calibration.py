"""What a quantiser looks at: a balanced, repeatable choice of pictures, as the tensors a bundle is fed.

Ranges of activations go into a card, pictures nowhere; the digest says what the ranges were taken from.
"""

import hashlib
import heapq
from collections.abc import Iterator
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
from shufflenet_ros.core.reasons import Dropped
from shufflenet_ros.sets.errors import SetError
from shufflenet_ros.sets.open import open_set
from shufflenet_ros.sets.sample import LabelledSet, Sample

DEFAULT_COUNT = 256
_SPARE = 2  # a class keeps this many times its share, for classes that have fewer


@dataclass(frozen=True)
class Calibration:
    """Tensors to run a bundle on.

    Attributes:
        inputs: (N, *spec.shape[1:]), of the card's dtype.
        names: where in the set each comes from.
        targets: (N,) index of its class in the set's labels.
        bad: pictures that were met and could not be used.
        digest: sha256 of the inputs' bytes.
    """

    inputs: npt.NDArray[Any]
    names: tuple[str, ...]
    targets: npt.NDArray[np.int64]
    bad: int
    digest: str


def calibration_inputs(path: str | Path, spec: CardInput, count: int = DEFAULT_COUNT, seed: int = 0
                       ) -> Calibration:
    """Choose training pictures, the same number of each class as far as there are enough.

    A picture's chance hangs on seed and name alone: the choice is the same on every machine, and the same
    for a folder and a tar of it. Fewer than `count` come back where the set has fewer.

    Args:
        path: folder, tar or labelled bag; of one with splits `train` is taken.

    Raises:
        SetError: no set, a count below 1, or no picture that can be used.
        BagError: a damaged bag.
    """
    if count < 1:
        raise SetError(f'{count} calibration pictures: expected at least 1, or better {DEFAULT_COUNT}')
    dataset = open_set(path)
    if dataset.split:
        dataset = open_set(path, 'train')
    kept, bad = _best_of_each_class(dataset, spec, -(-count // len(dataset.labels)) * _SPARE, seed)
    chosen = _in_turns(kept, count)
    if not chosen:
        raise SetError(f'{dataset.path}: none of its {dataset.count} pictures can be used for calibration')
    inputs = np.concatenate([tensor for _, _, tensor in chosen])
    return Calibration(inputs, tuple(name for name, _, _ in chosen),
                       np.array([target for _, target, _ in chosen], np.int64), bad, _digest(inputs))


# name, target, tensor
_Chosen = tuple[str, int, npt.NDArray[Any]]


def _lot(seed: int, name: str) -> int:
    """A number that decides who is chosen; the smallest are."""
    text = f'{seed} {name}'.encode('utf-8', 'surrogateescape')
    return int.from_bytes(hashlib.sha256(text).digest()[:8], 'big')


def _best_of_each_class(dataset: LabelledSet, spec: CardInput, keep: int, seed: int
                        ) -> tuple[list[list[_Chosen]], int]:
    """Each class's pictures with the smallest lots, smallest first; how many could not be used.

    One pass, in which a picture is decoded only when its lot is among the smallest until then.
    """
    # with the place, as two frames of a bag may have one name
    heaps: list[list[tuple[int, int, _Chosen]]] = [[] for _ in dataset.labels]
    bad = 0
    for place, sample in enumerate(dataset.samples()):
        heap, lot = heaps[sample.target], _lot(seed, sample.name)
        if len(heap) == keep and -heap[0][0] < lot:
            continue
        tensor = _tensor(sample, spec)
        if tensor is None:
            bad += 1
            continue
        item = (-lot, -place, (sample.name, sample.target, tensor))
        if len(heap) < keep:
            heapq.heappush(heap, item)
        else:
            heapq.heapreplace(heap, item)
    best = [sorted(heap, key=lambda item: (-item[0], -item[1])) for heap in heaps]
    return [[chosen for *_, chosen in items] for items in best], bad


def _tensor(sample: Sample, spec: CardInput) -> npt.NDArray[Any] | None:
    try:
        return None if isinstance(sample.message, Dropped) else prepare(
            decode(sample.message, DEFAULT_MAX_PIXELS), spec)
    except Dropped:
        return None


def _in_turns(kept: list[list[_Chosen]], count: int) -> list[_Chosen]:
    """The first of each class, then the second of each, ... up to count."""
    rounds = max(map(len, kept), default=0)
    turns = [items[i] for i in range(rounds) for items in kept if i < len(items)]
    return turns[:count]


def reference_inputs(spec: CardInput, count: int = DEFAULT_COUNT, seed: int = 0) -> Calibration:
    """Seeded synthetic pictures, for a reference network that no set belongs to."""
    pictures = seeded_pictures(spec.size, count, seed)
    inputs = np.concatenate([prepare(picture, spec) for picture in pictures])
    names = tuple(f'synthetic {index} of seed {seed}' for index in range(count))
    return Calibration(inputs, names, np.zeros(count, np.int64), 0, _digest(inputs))


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
