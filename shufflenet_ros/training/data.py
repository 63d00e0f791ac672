"""Training sets: a folder, tar or labeled bag in, one uint8 array a split out.

The whole set is decoded once, because at these sizes decoding costs more than the network's forward pass. A
tar's images are kept beside it and mapped into memory from there, so a set may be larger than the memory.
"""

import json
import math
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from shufflenet_ros.core.card import CardInput
from shufflenet_ros.core.classifier import DEFAULT_MAX_PIXELS
from shufflenet_ros.core.console import say
from shufflenet_ros.core.decode import decode
from shufflenet_ros.core.files import writing
from shufflenet_ros.core.preprocess import preprocess
from shufflenet_ros.core.reasons import FrameError
from shufflenet_ros.datasets.errors import DatasetError
from shufflenet_ros.datasets.holdout import holdout_split
from shufflenet_ros.datasets.labeled_dataset import LabeledDataset
from shufflenet_ros.datasets.match_labels import match_labels
from shufflenet_ros.datasets.open_dataset import open_dataset
from shufflenet_ros.datasets.tar import TarDataset
from shufflenet_ros.zoo.saving import mapped_array


@dataclass(frozen=True)
class ImageSet:
    """Decoded images of one split.

    Attributes:
        images: (N, px, px, 3) uint8 RGB, perhaps mapped from a file.
        targets: (N,) int64 indices into labels.
        labels: class names of all splits, sorted.
    """

    images: np.ndarray
    targets: np.ndarray
    labels: tuple[str, ...]


def load_sets(path: str | Path, val_path: str | Path | None, px: int, store_px: int = 0
              ) -> tuple[ImageSet, ImageSet]:
    """Read a set for training and one for validation.

    Validation is `val_path` where it is given, the split `val` where the set has splits, and otherwise what
    `sets.holdout_split` holds out.

    Args:
        px: side of the validation images.
        store_px: side of the training images, 0 for px.

    Returns:
        Training and validation, with the labels of the first.

    Raises:
        DatasetError, BagError: no set, no such split, less than two classes, or a class without images.
    """
    split = open_dataset(path).split
    if val_path is not None:
        if not split and Path(val_path).resolve() == Path(path).resolve():
            raise DatasetError(f'{val_path}: would validate what was learned from it: expected another set, or '
                           'none, and the last fifth of each class is held out')
        train = load_set(path, 'train' if split else '', store_px or px)
        val = _relabeled(load_set(val_path, '', px), train.labels, str(path))
    elif split:
        train, val = load_set(path, 'train', store_px or px), load_set(path, 'val', px)
    else:
        learned, held_out = holdout_split(open_dataset(path))
        train, val = _decoded(learned, store_px or px, np.empty), _decoded(held_out, px, np.empty)
    _check(train, path)
    return train, val


def _relabeled(val: ImageSet, labels: tuple[str, ...], where: str) -> ImageSet:
    places = np.array(match_labels(val.labels, labels, f'the training set {where}'))
    return ImageSet(val.images, places[val.targets], labels)


def _check(train: ImageSet, path: str | Path) -> None:
    if len(train.labels) < 2:
        raise DatasetError(f'{path}: has the one class {train.labels[0]!r}: expected at least two')
    if strange := [label for label in train.labels if not label.isprintable()]:
        raise DatasetError(f'{path}: class {strange[0]!r} has control characters, which no card takes: rename it')
    counts = np.bincount(train.targets, minlength=len(train.labels))
    if not counts.all():
        empty = [label for label, count in zip(train.labels, counts) if not count]
        raise DatasetError(f'{path}: no training image of {", ".join(map(repr, empty[:5]))}: expected some of '
                       'each class; add them, or take the class out of validation')


def load_set(path: str | Path, split: str, px: int) -> ImageSet:
    """Read a set's images, each center-cropped to a square and resized to px as on the robot.

    An image that cannot be decoded is left out and named on stderr. A tar's images are kept as
    <tar>.<split>.<px>.npy, and taken from there while the tar keeps its size and time.

    Args:
        split: see `open_dataset`.

    Raises:
        DatasetError, BagError: see `open_dataset`; or no image can be decoded.
    """
    path = Path(path)
    kept = path.with_name(f'{path.name}.{split}.{px}.npy')
    if kept.with_suffix('.npz').is_file() and (cached := _from_kept(kept, _key(path))):
        return cached
    dataset = open_dataset(path, split)
    if not isinstance(dataset, TarDataset):
        return _decoded(dataset, px, np.empty)
    try:
        folder = tempfile.TemporaryDirectory(prefix=f'{path.name}.', dir=path.parent)  # of this process alone
    except OSError as error:
        say(f'{kept}: not kept ({error.strerror}); the images are held in memory', to=sys.stderr)
        return _decoded(dataset, px, np.empty)
    with folder as own:
        part, index = Path(own) / kept.name, Path(own) / kept.with_suffix('.npz').name
        data = _decoded(dataset, px, lambda shape, dtype: _mapped(part, shape, dtype))
        with writing(kept):
            np.savez(index, targets=data.targets, labels=json.dumps(data.labels), key=_key(path))
            part.replace(kept)
            index.replace(kept.with_suffix('.npz'))
    return data


def _mapped(part: Path, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """See `mapped_array`."""
    try:
        return mapped_array(part, shape, dtype)
    except OSError as error:
        size = math.prod(shape) * np.dtype(dtype).itemsize
        raise DatasetError(f'{part.parent.parent}: no room to keep {size} bytes of decoded images '
                       f'({error.strerror}): make some, or move the tar to another disk') from error


def _key(path: Path) -> str:
    status = path.stat()
    return f'{status.st_size} bytes, changed {status.st_mtime_ns}'


def _from_kept(kept: Path, key: str) -> ImageSet | None:
    with np.load(kept.with_suffix('.npz')) as index:
        if 'key' not in index or str(index['key']) != key or not kept.is_file():
            return None
        targets, labels = index['targets'], tuple(json.loads(str(index['labels'])))
    return ImageSet(np.load(kept, mmap_mode='r')[:len(targets)], targets, labels)


def _decoded(dataset: LabeledDataset, px: int, allocate: Callable[..., np.ndarray]) -> ImageSet:
    spec = CardInput('NHWC', 'uint8', (px, px), 'rgb')
    images, targets = allocate((dataset.count, px, px, 3), np.uint8), np.empty(dataset.count, np.int64)
    good = 0
    for sample in dataset.samples():
        try:
            if isinstance(sample.message, FrameError):
                raise sample.message
            images[good] = preprocess(decode(sample.message, DEFAULT_MAX_PIXELS), spec)[0]
        except FrameError as dropped:
            say(f'{dataset.path}: {sample.name} left out: {dropped}', to=sys.stderr)
            continue
        targets[good] = sample.target
        good += 1
    if not good:
        raise DatasetError(f'{dataset.path}: none of its {dataset.count} images can be decoded')
    return ImageSet(images[:good], targets[:good], dataset.labels)
