# SPDX-License-Identifier: Apache-2.0
"""Small labeled datasets of every kind, in colors that the tiny bundle recognizes."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from shufflenet_ros.bags.writer import BagWriter

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
    """These files as a tar, in this order."""
    with tarfile.open(path, mode) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def write_labeled_bag(path: Path, frames: Iterable[tuple[str, bytes]], storage: str = 'mcap') -> Path:
    """A bag of (label, PNG) frames on /camera, 10 a second, and its label file with an entry per frame."""
    entries = []
    with BagWriter(path, storage) as bag:
        for i, (label, data) in enumerate(frames):
            bag.compressed('/camera', data, 'png', 10**18 + i * 10**8)
            entries.append({'topic': '/camera', 'from_s': i / 10, 'to_s': (i + 1) / 10, 'label': label})
    path.with_name(f'{path.name}.labels.yaml').write_text(json.dumps(entries))
    return path


FLAT = {f'{name}/{i}.png': encoded(name) for name in ('green', 'red') for i in range(3)}
SPLIT = {f'{split}/{name}/{i}{suffix}': encoded(name, suffix)
         for split, names in (('train', ('blue', 'green', 'red')), ('val', ('green', 'red')))
         for name in names for i, suffix in enumerate(('.png', '.jpg', '.webp'))}
