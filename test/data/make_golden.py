# SPDX-License-Identifier: Apache-2.0
"""Write the golden results that the tests compare the node and `classify` with, and their small bag.

    PYTHONPATH=. .venv/bin/python test/data/make_golden.py

Run it when the default model or the preprocessing changes, and check the difference before you commit it. The
bag is only written if it is missing.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from shufflenet_ros.bags.writer import BagWriter
from shufflenet_ros.bundles.files import sha256_of
from shufflenet_ros.bundles.locate import DEFAULT_MODEL, find
from shufflenet_ros.cli import main as cli

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SHARED = ROOT.parent / 'shared' / 'data'
PAN = HERE / 'pan.mcap'
INT8 = SHARED / 'shufflenet_v2_x1_0_int8.onnx'
# golden file -> (bag, model); of the default model its int8 variant, which is the same on every CPU
GOLDEN = {
    'golden_pan.json': (PAN, DEFAULT_MODEL),
    'golden_pan_int8.json': (PAN, str(INT8)),
    'golden_t265_int8.json': (SHARED / 'bags' / 't265_office.bag', str(INT8)),
    'golden_raspicam_int8.json': (SHARED / 'bags' / 'raspicam_compressed.bag', str(INT8)),
}
SIZE, FRAMES, PERIOD_NS, START_NS = (72, 96), 6, 100_000_000, 1_700_000_000_000_000_000


def make_pan(path: Path) -> None:
    """A pan over each of two photos of the demo, raw and as JPEG, 10 frames a second."""
    stamp = START_NS
    folder = path.with_name('pan')
    with BagWriter(folder) as bag:
        for name in ('fruits.jpg', 'orange.jpg'):
            photo = cv2.imread(str(ROOT / 'demo' / 'photos' / name))
            side = min(photo.shape[0] / SIZE[0], photo.shape[1] / SIZE[1]) * 0.75
            height, width = int(SIZE[0] * side), int(SIZE[1] * side)
            for i in range(FRAMES):
                top = (photo.shape[0] - height) * i // (FRAMES - 1)
                left = (photo.shape[1] - width) * i // (FRAMES - 1)
                window = photo[top:top + height, left:left + width]
                image = cv2.resize(window, SIZE[::-1], interpolation=cv2.INTER_AREA)
                jpeg = np.asarray(cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, 90])[1]).tobytes()
                bag.image('/camera/image_raw', image, 'bgr8', stamp)
                bag.compressed('/camera/image_raw/compressed', jpeg, 'bgr8; jpeg compressed bgr8', stamp)
                bag.camera_info('/camera/camera_info', *SIZE[::-1], stamp)
                stamp += PERIOD_NS
    (folder / 'pan.mcap').rename(path)
    (folder / 'metadata.yaml').unlink()
    folder.rmdir()


def results(bag: Path, model: str) -> list[dict[str, Any]]:
    """The lines of `shufflenet-ros classify --json` for a bag, without the bag's path."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        precision = 'int8' if model == DEFAULT_MODEL else 'auto'
        status = cli.main(['classify', str(bag), '--model', model, '--precision', precision, '--json'])
    if status:
        raise SystemExit(status)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    return [{key: line[key] for key in ('topic', 'stamp_ns', 'predictions', 'dropped')} for line in lines]


def write(path: Path, bag: Path, model: str) -> None:
    """One golden file, with one frame per line, so that a difference is readable."""
    head = {'model_sha256': sha256_of(find(model).path.read_bytes()), 'bag': bag.name}
    frames = ',\n  '.join(json.dumps(frame) for frame in results(bag, model))
    path.write_text(json.dumps(head)[:-1] + f', "frames": [\n  {frames}\n]}}\n')
    print(f'wrote {path}')


def main() -> None:
    """Write the bag if it is missing, and every golden file whose bag and model are available."""
    if not PAN.exists():
        make_pan(PAN)
    for name, (bag, model) in GOLDEN.items():
        try:
            present = bag.exists() and find(model).path.exists()
        except ValueError:
            present = False
        if present:
            write(HERE / name, bag, model)
        else:
            print(f'left out {name}: {bag.name} or model {model} is missing')


if __name__ == '__main__':
    argparse.ArgumentParser(description=__doc__).parse_args()
    main()
