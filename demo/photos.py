# SPDX-License-Identifier: Apache-2.0
"""The photos that the demo pans over, and their right labels (photos.yaml)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from demo.wheels import DemoError, read_member
from shufflenet_ros.core.frame import U8
from shufflenet_ros.core.opencv import cv2

HERE = Path(__file__).resolve().parent
PAN_SIZE = (480, 640)  # height, width in pixels
ZOOM = (1.0, 0.9)  # size of the window at a pan's begin and end; 1 is the largest that fits the photo
DRIFT = (0.35, 0.65)  # position of the window at begin and end; 0 is top left, 1 is bottom right


@dataclass(frozen=True)
class Photo:
    """An entry of photos.yaml; see the comments there. The image is `member` of a wheel, or `file`."""

    name: str
    right: tuple[str, ...]
    license: str
    package: str = ''
    member: str = ''
    file: str = ''
    counted: bool = True

    def read(self) -> U8:
        """Return the image: (H, W, 3) uint8, BGR.

        Raises:
            DemoError: no wheel, or OpenCV cannot decode the file.
        """
        data = (read_member(self.package, self.member) if self.package
                else (HERE / 'photos' / self.file).read_bytes())
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        if image is None:
            raise DemoError(f'photo {self.name}: OpenCV cannot decode {self.member or self.file}')
        return np.asarray(image, np.uint8)


def load_photos(path: Path = HERE / 'photos.yaml') -> tuple[Photo, ...]:
    """Return all photos of the file, in its order."""
    entries = yaml.safe_load(path.read_text(encoding='utf-8'))['photos']
    return tuple(Photo(right=tuple(entry.pop('right')), **entry.pop('wheel', {}), **entry)
                 for entry in entries)


def pan(photo: U8, frames: int) -> Iterator[U8]:
    """Yield `frames` images of PAN_SIZE: a slow pan with a slight zoom. The photo's middle stays in view."""
    height, width = photo.shape[:2]
    fit = min(height / PAN_SIZE[0], width / PAN_SIZE[1])
    for t in np.linspace(0.0, 1.0, frames):
        scale = fit * np.interp(t, (0, 1), ZOOM)  # photo pixels per output pixel
        drift = np.interp(t, (0, 1), DRIFT)
        left, top = (width - PAN_SIZE[1] * scale) * drift, (height - PAN_SIZE[0] * scale) * drift
        to_photo = np.array([[scale, 0, left], [0, scale, top]], np.float64)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        window = cv2.warpAffine(photo, to_photo, PAN_SIZE[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE)
        yield np.asarray(window, np.uint8)
