# SPDX-License-Identifier: Apache-2.0
"""Training data that is small enough to learn in a test: three classes of images that differ in color."""

import io
import tarfile
from pathlib import Path

import cv2
import numpy as np

COLORS = {'blue': (220, 40, 40), 'green': (40, 200, 40), 'red': (40, 40, 220)}  # BGR


def write_set(path: Path, train: int = 24, val: int = 8, px: int = 40) -> Path:
    """A tar of train/<class>/*.png and val/<class>/*.png: noise around the class's color."""
    rng = np.random.default_rng(3)
    with tarfile.open(path, 'w') as tar:
        for split, count in (('train', train), ('val', val)):
            for name, color in COLORS.items():
                for i in range(count):
                    noisy = np.array(color) + rng.normal(0, 40, (px, px, 3))
                    image = np.clip(noisy, 0, 255).astype(np.uint8)
                    data = cv2.imencode('.png', image)[1].tobytes()
                    info = tarfile.TarInfo(f'{split}/{name}/{i:03}.png')
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
    return path
