# SPDX-License-Identifier: Apache-2.0
"""Distillation (Hinton et al. 2015): a teacher's logits for the training images, computed once and cached.

The teacher is an ImageNet network from pip. A linear layer on its pooled features is fitted to the dataset's
classes, so it can teach any classes.
"""

import hashlib
import shutil
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from shufflenet_ros.core.console import say
from shufflenet_ros.core.files import replacing, writing
from shufflenet_ros.training.data import ImageDataset
from shufflenet_ros.training.linear_head import fit_head, top1
from shufflenet_ros.training.teacher_features import TEACHERS, compute_features
from shufflenet_ros.zoo.errors import ZooError


@dataclass(frozen=True)
class TeacherResult:
    """A teacher's logits, and how good it is.

    Attributes:
        logits: (N, C) float16, in the order of the training images.
        val_top1: accuracy on the validation images, which the head was not fitted on.
        train_top1: accuracy on the training images, which the head was fitted on.
        decay: weight decay of the head, chosen with a held-out tenth of the training images.
    """

    logits: np.ndarray
    val_top1: float
    train_top1: float
    decay: float


def teacher_logits(name: str, train: ImageDataset, val: ImageDataset, px: int, cache: Path | None
                   ) -> TeacherResult:
    """A teacher's logits for each training image, from the cache if they are there.

    Computing them takes minutes, so they are cached in cache/<name>-<px>-<key>.npz. The key depends on all
    images and targets. A run that was killed resumes after the last chunk of images.

    Args:
        name: a key of `TEACHERS`.
        train, val: images with the same labels; their sizes may differ.
        px: side that the images are resized to for the teacher.
        cache: folder; None for no cache.

    Raises:
        ZooError: an unknown teacher, one whose packages are missing, or other labels for validation.
        ModuleNotFoundError: scikit-learn is missing.
    """
    if name not in TEACHERS:
        raise ZooError(f'teacher {name!r}: expected one of {sorted(TEACHERS)}')
    if train.labels != val.labels:
        raise ZooError(f'teacher {name!r}: training has the classes {train.labels[:5]} ..., validation '
                       f'{val.labels[:5]} ...; expected the same')
    if cache is None:
        with tempfile.TemporaryDirectory() as folder:
            return teacher_logits(name, train, val, px, Path(folder))
    with writing(cache):
        cache.mkdir(parents=True, exist_ok=True)
    path = cache / f'{name}-{px}-{_key(name, train, val, px)}.npz'
    if not path.exists():
        _compute(name, train, val, px, path)
    with np.load(path) as file:
        figures = (float(file[key]) for key in ('val_top1', 'train_top1', 'decay'))
        return TeacherResult(file['logits'], *figures)


def _key(name: str, train: ImageDataset, val: ImageDataset, px: int) -> str:
    digest = hashlib.sha256(repr((name, TEACHERS[name].packages, px, len(train.labels))).encode())
    for data in (train, val):
        digest.update(repr(data.images.shape).encode())
        for start in range(0, len(data.images), 4096):
            digest.update(np.ascontiguousarray(data.images[start:start + 4096]).data)
        digest.update(np.ascontiguousarray(data.targets).data)
    return digest.hexdigest()[:20]


def _compute(name: str, train: ImageDataset, val: ImageDataset, px: int, path: Path) -> None:
    start = time.process_time()
    parts = path.with_suffix('.parts')
    features = compute_features(name, [train.images, val.images], px, parts)
    train_features, val_features = features[:len(train.images)], features[len(train.images):]
    head = fit_head(train_features, train.targets)
    logits = head.logits(train_features)
    result = TeacherResult(logits.astype(np.float16), top1(head.logits(val_features), val.targets),
                           top1(logits, train.targets), head.decay)
    with replacing(path) as draft:
        np.savez(draft, **asdict(result))
    shutil.rmtree(parts)
    minutes = (time.process_time() - start) / 60
    say(f'teacher {name} at {px} px: top-1 {result.val_top1:.1%} in validation, {result.train_top1:.1%} '
        f'in training; decay {head.decay:g}; {minutes:.1f} core-minutes; cached as {path}', to=sys.stderr)
