"""Training sets: an ImageFolder-like tar in, one uint8 array a split out.

The whole set is decoded once and kept as one array beside the tar, because at these sizes decoding
costs more than the network's forward pass.
"""

import json
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shufflenet_ros.core.opencv import cv2
from shufflenet_ros.zoo.errors import ZooError


@dataclass(frozen=True)
class ImageSet:
    """Decoded images of one split.

    Attributes:
        images: (N, px, px, 3) uint8 RGB.
        targets: (N,) int64 indices into labels.
        labels: class names, sorted.
    """

    images: np.ndarray
    targets: np.ndarray
    labels: tuple[str, ...]


def _decode(data: bytes, px: int) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ZooError('not an image that OpenCV can read')
    side = min(image.shape[:2])
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    image = image[top:top + side, left:left + side]
    if side != px:
        image = cv2.resize(image, (px, px), interpolation=cv2.INTER_LINEAR)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _read_tar(tar_path: Path, split: str, px: int) -> ImageSet:
    images, names = [], []
    with tarfile.open(tar_path) as tar:
        for member in tar:
            parts = member.name.split('/')
            if not member.isfile() or len(parts) != 3 or parts[0] != split:
                continue
            stream = tar.extractfile(member)
            assert stream is not None
            try:
                images.append(_decode(stream.read(), px))
            except ZooError as error:
                raise ZooError(f'{tar_path}: {member.name}: {error}') from error
            names.append(parts[1])
    if not images:
        raise ZooError(f'{tar_path}: no image under {split}/<class>/; '
                       'expected train/<class>/* and val/<class>/*')
    labels = tuple(sorted(set(names)))
    index = {name: i for i, name in enumerate(labels)}
    return ImageSet(np.stack(images), np.array([index[n] for n in names], np.int64), labels)


def load_tar(path: str | Path, split: str, px: int) -> ImageSet:
    """Read split/<class>/<image> from a tar, shortest side centre-cropped and resized to px.

    The decoded array is cached as <tar>.<split>.<px>.npz and taken from there the next time.

    Raises:
        ZooError: no image of that split, or one that cannot be decoded.
        FileNotFoundError: no such tar.
    """
    path = Path(path)
    cache = path.with_name(f'{path.name}.{split}.{px}.npz')
    if cache.exists() and cache.stat().st_mtime >= path.stat().st_mtime:
        with np.load(cache) as stored:
            return ImageSet(stored['images'], stored['targets'], tuple(json.loads(str(stored['labels']))))
    data = _read_tar(path, split, px)
    partial = cache.with_suffix('.part.npz')
    np.savez(partial, images=data.images, targets=data.targets, labels=json.dumps(data.labels))
    partial.replace(cache)
    return data
