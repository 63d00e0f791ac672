# SPDX-License-Identifier: Apache-2.0
"""Load training data: from a folder, tar or labeled bag into one uint8 array per split.

The images are decoded once, because at these sizes decoding costs more than the network's forward pass. A
tar's images are cached beside it and mapped into memory, so a dataset need not fit in memory.
"""

import json
import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shufflenet_ros.core.card import CardInput
from shufflenet_ros.core.console import say
from shufflenet_ros.core.files import WriteError, replacing
from shufflenet_ros.core.preprocess import preprocess
from shufflenet_ros.core.reasons import FrameError
from shufflenet_ros.datasets.errors import DatasetError
from shufflenet_ros.datasets.holdout import holdout_split
from shufflenet_ros.datasets.labeled_dataset import LabeledDataset
from shufflenet_ros.datasets.match_labels import match_labels
from shufflenet_ros.datasets.open_dataset import open_dataset
from shufflenet_ros.datasets.tar import is_tar


@dataclass(frozen=True)
class ImageDataset:
    """Decoded images of one split.

    Attributes:
        images: (N, px, px, 3) uint8 RGB, perhaps mapped from a file.
        targets: (N,) int64 indices into labels.
        labels: class names of all splits, sorted.
    """

    images: np.ndarray
    targets: np.ndarray
    labels: tuple[str, ...]


def load_datasets(path: str | Path, val_path: str | Path | None, px: int, store_px: int = 0
                  ) -> tuple[ImageDataset, ImageDataset]:
    """Read the images for training and those for validation.

    Validation images come from `val_path`, else from the split `val`, else `holdout_split` chooses them.

    Args:
        px: side of the validation images.
        store_px: side of the training images, 0 for px.

    Returns:
        Training and validation, both with the labels of training.

    Raises:
        DatasetError, BagError: no such dataset or split, fewer than two classes, or a class without images.
    """
    dataset = open_dataset(path)
    if val_path is not None:
        if not dataset.split and Path(val_path).resolve() == Path(path).resolve():
            raise DatasetError(f'{val_path}: is also the training data: expected another dataset for '
                               'validation, or none: then the last fifth of each class is held out')
        train = load_dataset(path, 'train' if dataset.split else '', store_px or px)
        val = load_dataset(val_path, '', px)
        indices = np.array(match_labels(val.labels, train.labels, f'the training set {path}'))
        val = ImageDataset(val.images, indices[val.targets], train.labels)
    elif dataset.split:
        train, val = load_dataset(path, 'train', store_px or px), load_dataset(path, 'val', px)
    else:
        rest, held_out = holdout_split(dataset)
        train, val = _decode(rest, store_px or px), _decode(held_out, px)
    _check(train, path)
    return train, val


def _check(train: ImageDataset, path: str | Path) -> None:
    if len(train.labels) < 2:
        raise DatasetError(f'{path}: has only the class {train.labels[0]!r}: expected at least two')
    if strange := [label for label in train.labels if not label.isprintable()]:
        raise DatasetError(f'{path}: class {strange[0]!r} has control characters, which are not '
                           'allowed in cards: rename it')
    present = set(train.targets.tolist())
    if empty := [label for i, label in enumerate(train.labels) if i not in present]:
        raise DatasetError(f'{path}: no training image of {", ".join(map(repr, empty[:5]))}: expected some '
                           'of each class; add them, or remove the class from validation')


def load_dataset(path: str | Path, split: str, px: int) -> ImageDataset:
    """Read a split's images, each center-cropped to a square and resized to px as on the robot.

    An image that cannot be decoded is skipped and reported on stderr. A tar's images are cached as
    <tar>.<split>.<px>.npy; the cache is used as long as the tar keeps its size and time.

    Args:
        split: see `open_dataset`.

    Raises:
        DatasetError, BagError: see `open_dataset`; or no image can be decoded.
    """
    path = Path(path)
    cache = path.with_name(f'{path.name}.{split}.{px}.npy')
    if cached := _from_cache(cache, path):
        return cached
    dataset = open_dataset(path, split)
    if not is_tar(path):
        return _decode(dataset, px)
    try:
        with replacing(cache) as draft:
            data = _decode(dataset, px, draft)
        with replacing(cache.with_suffix('.npz')) as draft:
            np.savez(draft, targets=data.targets, labels=json.dumps(data.labels), key=_version(path))
    except WriteError as error:
        say(f'{error}; not cached, the images stay in memory', to=sys.stderr)
        return _decode(dataset, px)
    return data


def _version(path: Path) -> str:
    status = path.stat()
    return f'{status.st_size} bytes, changed {status.st_mtime_ns}'


def _from_cache(cache: Path, path: Path) -> ImageDataset | None:
    index_file = cache.with_suffix('.npz')
    if not index_file.is_file() or not cache.is_file():
        return None
    with np.load(index_file) as index:
        if str(index['key']) != _version(path):
            return None
        targets, labels = index['targets'], tuple(json.loads(str(index['labels'])))
    return ImageDataset(np.load(cache, mmap_mode='r')[:len(targets)], targets, labels)


def _decode(dataset: LabeledDataset, px: int, file: Path | None = None) -> ImageDataset:
    """Decode all images, into memory or into a new .npy file."""
    spec = CardInput('NHWC', 'uint8', (px, px), 'rgb')
    shape = (dataset.count, px, px, 3)
    images = _mapped(file, shape) if file else np.empty(shape, np.uint8)
    targets: list[int] = []
    for sample in dataset.samples():
        try:
            images[len(targets)] = preprocess(sample.image(), spec)[0]
            targets.append(sample.target)
        except FrameError as reason:
            say(f'{dataset.path}: {sample.name} skipped: {reason}', to=sys.stderr)
    if not targets:
        raise DatasetError(f'{dataset.path}: none of its {dataset.count} images can be decoded')
    return ImageDataset(images[:len(targets)], np.array(targets, np.int64), dataset.labels)


def _mapped(file: Path, shape: tuple[int, ...]) -> np.ndarray:
    """A new .npy file, mapped into memory. Its space is reserved, because a full disk would kill us later."""
    try:
        images: np.ndarray = np.lib.format.open_memmap(file, 'w+', np.uint8, shape)
        with file.open('r+b') as stream:
            os.posix_fallocate(stream.fileno(), 0, file.stat().st_size)
    except OSError as error:
        raise DatasetError(f'{file.parent.parent}: no space for {math.prod(shape)} bytes of decoded images '
                           f'({error.strerror}): free some, or move the tar to another disk') from error
    return images
