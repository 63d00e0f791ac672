"""Small labeled images of every kind; colors that a model can tell."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import cv2
import numpy as np

BGR = {'red': (0, 0, 255), 'green': (0, 255, 0), 'blue': (255, 0, 0)}


def plain(name: str, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    """(H, W, 3) uint8 BGR of one color."""
    return np.full((*size, 3), BGR[name], np.uint8)


def encoded(name: str, suffix: str = '.png') -> bytes:
    """A plain image as a file."""
    return cv2.imencode(suffix, plain(name))[1].tobytes()


def write_folder(root: Path, files: dict[str, bytes]) -> Path:
    """These files, by their paths below root."""
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def write_tar(path: Path, files: dict[str, bytes], mode: str = 'w') -> Path:
    """These files as a tar, in the order given."""
    with tarfile.open(path, mode) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


FLAT = {f'{name}/{i}.png': encoded(name) for name in ('green', 'red') for i in range(3)}
SPLIT = {f'{split}/{name}/{i}{suffix}': encoded(name, suffix)
         for split, names in (('train', ('blue', 'green', 'red')), ('val', ('green', 'red')))
         for name in names for i, suffix in enumerate(('.png', '.jpg', '.webp'))}
