# SPDX-License-Identifier: Apache-2.0
"""Make native variants of a bundle, in one or several precisions.

Writes <bundle>-<precision>.native beside the bundle and lists the files in its card. The graph does not
change. A graph that the native kernels cannot compute exactly is an error with the reason; it still runs on
onnxruntime.
"""

import argparse
import sys
from dataclasses import asdict
from pathlib import Path

from shufflenet_ros.backends.load import load
from shufflenet_ros.bundles.variants import PRECISIONS
from shufflenet_ros.core.console import say, say_json
from shufflenet_ros.datasets.calibration import calibration_inputs, reference_inputs
from shufflenet_ros.packer.pack import pack
from shufflenet_ros.packer.score_variants import score_variants, validation_subset


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add = parser.add_argument
    add('model', metavar='NAME_OR_PATH', help='name from `models list`, or path of an ONNX file')
    add('--precision', nargs='+', choices=PRECISIONS, metavar='P',
        help='fp32, fp16, int8 (default: all with calibration images, else fp32)')
    images = parser.add_mutually_exclusive_group()
    images.add_argument('--calibrate', type=Path, metavar='DATASET',
                        help='calibrate fp16 and int8 on training images of this dataset; without splits, '
                             'on all but those of `evaluate --held-out`')
    images.add_argument('--reference', action='store_true', help='calibrate on synthetic images')
    add('--count', type=int, default=256, metavar='N',
        help='number of calibration images (default: %(default)s)')
    add('--score', type=Path, metavar='DATASET',
        help='measure each variant on the validation images of this dataset (without splits, on those of '
             '`evaluate --held-out`) and write the accuracy into the card')
    add('-o', '--output', type=Path, metavar='FOLDER',
        help="where to write the bundle and its variants (default: the bundle's folder)")
    add('--json', action='store_true', help='print one JSON object')


def run(args: argparse.Namespace) -> int:
    """Verify the bundle, pack it, report what was written."""
    bundle = load(args.model, backend='onnxruntime', precision='').bundle
    calibration = None
    if args.calibrate:
        calibration = calibration_inputs(args.calibrate, bundle.card.input, args.count, hold_out=True)
    elif args.reference:
        calibration = reference_inputs(bundle.card.input, args.count)
    precisions = args.precision or (PRECISIONS if calibration else ('fp32',))
    packed = pack(bundle, precisions, calibration, args.output)
    path = (args.output or bundle.path.parent) / bundle.path.name
    metrics = {}
    if args.score:
        metrics = score_variants(path, validation_subset(args.score), list(dict.fromkeys(precisions)))
    if args.json:
        variants = [asdict(one.variant) | {'size': len(one.blob), 'distance': one.distance,
                                           'metrics': metrics.get(one.variant.precision, {})}
                    for one in packed]
        say_json({'bundle': str(path), 'variants': variants})
    for one in packed:
        say(f'wrote {one.path}: {len(one.blob)} bytes, logits for a smooth test image {one.distance:.2g} '
            "away from the graph's", to=sys.stderr)
    say(f'wrote {path} with their entries in its card', to=sys.stderr)
    return 0
