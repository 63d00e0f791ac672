# SPDX-License-Identifier: Apache-2.0
"""Make docs/demo.png for the README from what `make demo` wrote to out/demo.

It shows only the CC0 photos. The street video is under its package's license (NOTICE).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image  # a dependency of matplotlib

from demo.photos import load_photos
from demo.segments import segments_of
from demo.wheels import ROOT, DemoError
from shufflenet_ros.core.frame import U8
from shufflenet_ros.core.opencv import cv2

SHOWN = {'coffee': 0.5, 'cat': 0.5, 'rocket': 0.5}  # segment -> position in it, 0 to 1
TILE = (240, 320)  # height, width in pixels
TIMELINE_SHARE = 0.49  # the upper part of the plot: labels over time
MAX_BYTES = 300_000


def tiles_of(video_path: Path) -> list[U8]:
    """Return an annotated frame for each of SHOWN, at TILE's size, BGR.

    Raises:
        DemoError: no video, or it is not of the full bag.
    """
    video = cv2.VideoCapture(str(video_path))
    segments = {segment.name: segment for segment in segments_of(load_photos())}
    tiles = []
    for name, position in SHOWN.items():
        segment = segments[name]
        video.set(cv2.CAP_PROP_POS_FRAMES, round(segment.begin + position * (segment.end - segment.begin)))
        success, frame = video.read()
        if not success:
            raise DemoError(f'{video_path} has no frame of {name}: run `make demo` first')
        tiles.append(np.asarray(cv2.resize(frame, TILE[::-1], interpolation=cv2.INTER_AREA), np.uint8))
    return tiles


def montage(folder: Path) -> U8:
    """Return the tiles side by side above the labels over time: (H, W, 3) uint8, RGB."""
    row = np.hstack(tiles_of(folder / 'annotated.mp4'))
    timeline = cv2.imread(str(folder / 'timeline.png'))
    if timeline is None:
        raise DemoError(f'{folder} has no timeline.png: run `make demo` first')
    labels = timeline[:round(timeline.shape[0] * TIMELINE_SHARE)]
    scale = row.shape[1] / labels.shape[1]
    labels = cv2.resize(labels, (row.shape[1], round(labels.shape[0] * scale)), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(np.vstack([row, labels])[:, :, ::-1], np.uint8)


def write(image: U8, path: Path) -> int:
    """Write a PNG with as many palette colors as MAX_BYTES allows; return its size in bytes.

    Raises:
        DemoError: it is too large even with 32 colors.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for colors in (256, 128, 64, 32):
        palette = Image.fromarray(image).quantize(colors, dither=Image.Dither.NONE)
        palette.save(path, optimize=True)
        if path.stat().st_size <= MAX_BYTES:
            return path.stat().st_size
    raise DemoError(f'{path} has {path.stat().st_size} bytes, expected at most {MAX_BYTES}: '
                    'make TILE smaller')


def main() -> None:
    """Make the image and print its size."""
    parser = argparse.ArgumentParser(prog='python -m demo.readme_image', description=__doc__)
    parser.add_argument('--demo', type=Path, default=ROOT / 'out' / 'demo', help='the output of the demo')
    parser.add_argument('--out', type=Path, default=ROOT / 'docs' / 'demo.png')
    arguments = parser.parse_args()
    try:
        print(f'{arguments.out}: {write(montage(arguments.demo), arguments.out)} bytes')
    except DemoError as error:
        sys.exit(f'error: {error}')


if __name__ == '__main__':
    main()
