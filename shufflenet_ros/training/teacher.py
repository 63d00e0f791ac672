"""A teacher's answers to a training set, computed once and kept: what distillation learns from.

The teacher is somebody else's ImageNet network from pip. Its pooled features feed a linear head that is
fitted to the set's own classes, so that it can teach any set. The use: Hinton et al. 2015, arXiv 1503.02531.
"""

import hashlib
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from shufflenet_ros.core.console import say
from shufflenet_ros.core.files import replacing, writing
from shufflenet_ros.training.data import ImageSet
from shufflenet_ros.training.linear_head import fit_head, top1
from shufflenet_ros.training.teacher_features import TEACHERS, done_file, features
from shufflenet_ros.zoo.errors import ZooError


@dataclass(frozen=True)
class Teacher:
    """What a teacher says of a training set, and how good it is.

    Attributes:
        logits: (N, C) float16, in the order of the training set.
        val_top1: share of the validation set that it names rightly; it was not fitted on it.
        train_top1: the same of the training set, which its head was fitted on.
        decay: weight decay of the head, chosen on a held-out tenth of the training set.
    """

    logits: np.ndarray
    val_top1: float
    train_top1: float
    decay: float


def teacher_logits(name: str, train: ImageSet, val: ImageSet, px: int, cache: Path | None) -> Teacher:
    """Ask a teacher about each training image, or take its answers from the cache.

    The features (the work of minutes) and the logits are kept in cache/<name>-<px>-<key>.npz; the key tells
    sets apart by their images and targets. A run that was killed goes on from its last chunk.

    Args:
        name: of `TEACHERS`.
        train, val: sets with the same labels; their images may differ in size.
        px: side that the images are resized to for the teacher.
        cache: folder to keep answers in; None keeps nothing.

    Raises:
        ZooError: an unknown teacher, one whose packages are missing, or sets with other labels.
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
    kept = cache / f'{name}-{px}-{_key(name, train, val, px)}.npz'
    if not kept.exists():
        _compute(name, train, val, px, kept)
    with np.load(kept) as file:
        return Teacher(file['logits'], *(float(file[key]) for key in ('val_top1', 'train_top1', 'decay')))


def _key(name: str, train: ImageSet, val: ImageSet, px: int) -> str:
    digest = hashlib.sha256(repr((name, TEACHERS[name].packages, px, len(train.labels))).encode())
    for data in (train, val):
        digest.update(repr(data.images.shape).encode())
        for at in range(0, len(data.images), 4096):
            digest.update(np.ascontiguousarray(data.images[at:at + 4096]))
        digest.update(np.ascontiguousarray(data.targets))
    return digest.hexdigest()[:20]


def _compute(name: str, train: ImageSet, val: ImageSet, px: int, kept: Path) -> None:
    start = time.process_time()
    part = kept.with_suffix('.part.npy')
    found = features(name, [train.images, val.images], px, part)
    own, other = found[:len(train.images)], found[len(train.images):]
    head = fit_head(own, train.targets, len(train.labels))
    logits = head.logits(own)
    teacher = Teacher(logits.astype(np.float16), top1(head.logits(other), val.targets),
                      top1(logits, train.targets), head.decay)
    with replacing(kept) as draft:
        np.savez(draft, features=own, **asdict(teacher))
    part.unlink()
    done_file(part).unlink()
    minutes = (time.process_time() - start) / 60
    say(f'teacher {name} at {px} px: top-1 {teacher.val_top1:.1%} in validation, {teacher.train_top1:.1%} '
        f'in training; decay {head.decay:g}; {minutes:.1f} core-minutes; kept as {kept}', to=sys.stderr)
