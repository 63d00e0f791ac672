"""Training sets: a folder, tar or labelled bag in, one uint8 array a split out.

The whole set is decoded once and, for a tar, kept as one array beside it, because at these sizes decoding
costs more than the network's forward pass.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shufflenet_ros.core.card import CardInput
from shufflenet_ros.core.classifier import DEFAULT_MAX_PIXELS
from shufflenet_ros.core.decode import decode
from shufflenet_ros.core.preprocess import prepare
from shufflenet_ros.core.reasons import Dropped, printable
from shufflenet_ros.sets.errors import SetError
from shufflenet_ros.sets.open import open_set
from shufflenet_ros.sets.sample import LabelledSet
from shufflenet_ros.sets.tar import TarSet


@dataclass(frozen=True)
class ImageSet:
    """Decoded images of one split.

    Attributes:
        images: (N, px, px, 3) uint8 RGB.
        targets: (N,) int64 indices into labels.
        labels: class names of all splits, sorted.
    """

    images: np.ndarray
    targets: np.ndarray
    labels: tuple[str, ...]


def load_set(path: str | Path, split: str, px: int) -> ImageSet:
    """Read a set's pictures, each centre-cropped to a square and resized to px as on the robot.

    A picture that cannot be decoded is left out and named on stderr. The array of a tar is cached as
    <tar>.<split>.<px>.npz and taken from there while the tar keeps its size and time.

    Args:
        split: see `open_set`.

    Raises:
        SetError, BagError: see `open_set`; or no picture can be decoded.
    """
    path = Path(path)
    cache = path.with_name(f'{path.name}.{split}.{px}.npz')
    if cache.exists() and (cached := _from_cache(cache, _key(path))):
        return cached
    dataset = open_set(path, split)
    data = _decoded(dataset, px)
    if isinstance(dataset, TarSet):
        partial = cache.with_suffix('.part.npz')
        np.savez(partial, images=data.images, targets=data.targets, labels=json.dumps(data.labels),
                 key=_key(path))
        partial.replace(cache)
    return data


def _key(path: Path) -> str:
    status = path.stat()
    return f'{status.st_size} bytes, changed {status.st_mtime_ns}'


def _from_cache(cache: Path, key: str) -> ImageSet | None:
    with np.load(cache) as stored:
        if 'key' not in stored or str(stored['key']) != key:
            return None
        return ImageSet(stored['images'], stored['targets'], tuple(json.loads(str(stored['labels']))))


def _decoded(dataset: LabelledSet, px: int) -> ImageSet:
    spec = CardInput('NHWC', 'uint8', (px, px), 'rgb')
    images, targets = np.empty((dataset.count, px, px, 3), np.uint8), np.empty(dataset.count, np.int64)
    good = 0
    for sample in dataset.samples():
        try:
            if isinstance(sample.message, Dropped):
                raise sample.message
            images[good] = prepare(decode(sample.message, DEFAULT_MAX_PIXELS), spec)[0]
        except Dropped as dropped:
            print(f'{dataset.path}: {printable(sample.name)} left out: {dropped}', file=sys.stderr)
            continue
        targets[good] = sample.target
        good += 1
    if not good:
        raise SetError(f'{dataset.path}: none of its {dataset.count} pictures can be decoded')
    return ImageSet(images[:good], targets[:good], dataset.labels)
