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

from demo.content import ROOT, DemoError, load_photos, segments_of
from shufflenet_ros.core.frame import U8
from shufflenet_ros.core.opencv import cv2

SHOWN = ('coffee', 'cat', 'rocket')  # one frame of each, from the middle of its segment
TILE = (320, 240)  # width, height in pixels
TIMELINE_SHARE = 0.49  # the upper part of the plot: labels over time
MAX_BYTES = 300_000


def tiles_of(video_path: Path) -> list[U8]:
    """Return an annotated frame for each of SHOWN, at TILE's size, BGR.

    Raises:
        DemoError: no video, or it is not of the full bag.
    """
    video = cv2.VideoCapture(str(video_path))
    tiles = []
    for segment in segments_of(load_photos()):
        if segment.name in SHOWN:
            video.set(cv2.CAP_PROP_POS_FRAMES, (segment.begin + segment.end) // 2)
            success, frame = video.read()
            if not success:
                raise DemoError(f'{video_path} has no frame of {segment.name}: run `make demo` first')
            tiles.append(np.asarray(cv2.resize(frame, TILE, interpolation=cv2.INTER_AREA), np.uint8))
    return tiles


def montage(folder: Path) -> Image.Image:
    """Return the tiles side by side above the labels over time, as an image with a palette.

    Raises:
        DemoError: the demo has not run.
    """
    row = np.hstack(tiles_of(folder / 'annotated.mp4'))
    timeline = cv2.imread(str(folder / 'timeline.png'))
    if timeline is None:
        raise DemoError(f'{folder} has no timeline.png: run `make demo` first')
    labels = timeline[:round(timeline.shape[0] * TIMELINE_SHARE)]
    height = round(labels.shape[0] * row.shape[1] / labels.shape[1])
    labels = cv2.resize(labels, (row.shape[1], height), interpolation=cv2.INTER_AREA)
    image = cv2.cvtColor(np.vstack([row, labels]), cv2.COLOR_BGR2RGB)
    return Image.fromarray(image).quantize(256, dither=Image.Dither.NONE)


def main() -> None:
    """Make the image and print its size."""
    parser = argparse.ArgumentParser(prog='python -m demo.readme_image', description=__doc__)
    parser.add_argument('--demo', type=Path, default=ROOT / 'out' / 'demo', help='the output of the demo')
    parser.add_argument('--out', type=Path, default=ROOT / 'docs' / 'demo.png')
    arguments = parser.parse_args()
    try:
        montage(arguments.demo).save(arguments.out, optimize=True)
    except DemoError as error:
        sys.exit(f'error: {error}')
    size = arguments.out.stat().st_size
    print(f'{arguments.out}: {size} bytes')
    if size > MAX_BYTES:
        sys.exit(f'error: expected at most {MAX_BYTES} bytes: make TILE smaller')


if __name__ == '__main__':
    main()
