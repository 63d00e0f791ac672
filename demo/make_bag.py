# SPDX-License-Identifier: Apache-2.0
"""Make the demo's bag: real street video, then slow pans over real photos (`python -m demo.make_bag`).

`<bag>.labels.yaml` next to it lists {topic, from_s, to_s, label} for each pan with exactly one right label,
in seconds from the bag's start, to_s excluded. `shufflenet-ros evaluate` can score the bag with it.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

import yaml

from demo.content import CACHE, HERE, DemoError, Segment, frames_of, load_photos, segments_of, stamp_of
from shufflenet_ros.bags.writer import BagWriter

TOPIC = '/camera/image_raw'
FRAME_ID = 'camera_optical_frame'
_SOURCES = ('make_bag.py', 'content.py', 'photos.yaml')


def make_bag(seconds: float | None = None) -> tuple[Path, tuple[Segment, ...]]:
    """Write the bag and its labels, unless they are there and came from the same sources; return its path.

    Raises:
        DemoError: a photo or the video cannot be read.
    """
    path = CACHE / 'demo' / ('bag' if seconds is None else f'bag-{seconds:g}s')
    labels_file, key_file = (path.with_name(path.name + suffix) for suffix in ('.labels.yaml', '.key'))
    photos = load_photos()
    segments = segments_of(photos, seconds)
    sources = [(HERE / name).read_bytes() for name in _SOURCES]
    key = hashlib.sha256(b''.join([repr(segments).encode(), *sources])).hexdigest()
    if path.is_dir() and labels_file.is_file() and key_file.is_file() and key_file.read_text() == key:
        return path, segments
    key_file.unlink(missing_ok=True)
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
    return path, segments


def main() -> None:
    """Make the bag and print its path."""
    parser = argparse.ArgumentParser(prog='python -m demo.make_bag', description=__doc__)
    parser.add_argument('--seconds', type=float, help='a shorter bag with the same segments')
    try:
        path, segments = make_bag(parser.parse_args().seconds)
    except DemoError as error:
        sys.exit(f'error: {error}')
    print(f'{path}: {segments[-1].end} images, {segments[-1].to_s:g} s')


if __name__ == '__main__':
    main()
