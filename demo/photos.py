"""The photos that the demo pans over, and the labels that count as right (photos.yaml)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import yaml

from demo.wheels import DemoError, read_member
from shufflenet_ros.core.opencv import cv2

U8 = npt.NDArray[np.uint8]
HERE = Path(__file__).resolve().parent
PAN_SIZE = (480, 640)  # height, width in pixels
ZOOM = (1.0, 0.9)  # the window's side at a pan's begin and end, of the largest 4:3 window that fits
DRIFT = (0.35, 0.65)  # where the window stands in the margin it leaves, at begin and end


@dataclass(frozen=True)
class Photo:
    """One entry of photos.yaml: its name, its right labels, and where its bytes are.

    Attributes:
        counted: whether its frames are part of `known_right`.
    """

    name: str
    right: tuple[str, ...]
    license: str
    package: str = ''
    member: str = ''
    file: str = ''
    counted: bool = True

    def read(self) -> U8:
        """(H, W, 3) uint8, BGR.

        Raises:
            DemoError: the photo cannot be had or is no image.
        """
        if self.package:
            data = read_member(self.package, self.member)
        else:
            data = (HERE / 'photos' / self.file).read_bytes()
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        if image is None:
            raise DemoError(f'photo {self.name}: {self.member or self.file} is no image that OpenCV reads')
        return np.asarray(image, np.uint8)


def load_photos(path: Path = HERE / 'photos.yaml') -> tuple[Photo, ...]:
    """Every photo of the file, in its order."""
    entries = yaml.safe_load(path.read_text(encoding='utf-8'))['photos']
    return tuple(Photo(name=entry['name'], right=tuple(entry['right']), license=entry['license'],
                       file=entry.get('file', ''), counted=entry.get('counted', True),
                       **entry.get('wheel', {})) for entry in entries)


def pan(photo: U8, frames: int) -> Iterator[U8]:
    """A slow pan with a slight zoom: `frames` images of PAN_SIZE; the photo's middle stays in view."""
    height, width = photo.shape[:2]
    fit = min(height / PAN_SIZE[0], width / PAN_SIZE[1])
    for t in np.linspace(0.0, 1.0, frames):
        scale = fit * np.interp(t, (0, 1), ZOOM)  # photo pixels an output pixel
        place = np.interp(t, (0, 1), DRIFT)
        left, top = (width - PAN_SIZE[1] * scale) * place, (height - PAN_SIZE[0] * scale) * place
        to_photo = np.array([[scale, 0, left], [0, scale, top]], np.float64)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        window = cv2.warpAffine(photo, to_photo, PAN_SIZE[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE)
        yield np.asarray(window, np.uint8)
