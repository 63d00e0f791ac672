"""`shufflenet-ros models pack`: a bundle for our own kernels, in one or several precisions.

Writes <bundle>-<precision>.native beside the bundle and lists them in its card; the graph stays as it is,
byte by byte. A graph that our kernels cannot compute exactly is refused with the reason: onnxruntime runs it.
"""

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from shufflenet_ros.core.console import say, say_json

if TYPE_CHECKING:
    from shufflenet_ros.core.card import CardInput
    from shufflenet_ros.datasets.calibration import Calibration

PRECISIONS = ('fp32', 'fp16', 'int8')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument('model', metavar='NAME_OR_PATH',
                        help='name of `models list`, or path of an ONNX file')
    parser.add_argument('--precision', nargs='+', choices=PRECISIONS, metavar='P',
                        help='fp32, fp16, int8 (default: all with images to calibrate on, else fp32)')
    images = parser.add_mutually_exclusive_group()
    images.add_argument('--calibrate', type=Path, metavar='SET',
                          help='set whose training images show fp16 and int8 their ranges; of a set '
                               'without splits all but what `evaluate --held-out` judges by')
    images.add_argument('--reference', action='store_true', help='take synthetic images for that')
    parser.add_argument('--count', type=int, default=256, metavar='N',
                        help='of these images (default: %(default)s)')
    parser.add_argument('--score', type=Path, metavar='SET',
                        help='measure each variant on the validation images of this set (of one without '
                             'splits on what `evaluate --held-out` judges by), and keep it in the card')
    parser.add_argument('-o', '--output', type=Path, metavar='FOLDER',
                        help='where the bundle with its new card and the variants go (default: where it is)')
    parser.add_argument('--json', action='store_true', help='one JSON object')


def run(args: argparse.Namespace) -> int:
    """Verify the bundle, pack it, say what was written."""
    from shufflenet_ros.backends.load import load
    from shufflenet_ros.packer.pack import pack

    bundle = load(args.model, backend='onnxruntime', precision='').bundle
    images = bool(args.calibrate or args.reference)
    precisions = args.precision or (PRECISIONS if images else PRECISIONS[:1])
    calibration = calibrate(args.calibrate, bundle.card.input, args.count) if images else None
    made = pack(bundle, precisions, calibration, args.output)
    path = (args.output or bundle.path.parent) / bundle.path.name
    metrics = {}
    if args.score:
        from shufflenet_ros.packer.score_variants import score_variants, validation_subset
        precisions = [packed.variant.precision for packed in made]
        metrics = score_variants(path, validation_subset(args.score), precisions)
    if args.json:
        variants = [asdict(packed.variant) | {'size': packed.size, 'distance': packed.distance}
                    | {'metrics': metrics.get(packed.variant.precision, {})} for packed in made]
        say_json({'bundle': str(path), 'variants': variants})
    for packed in made:
        say(f"wrote {packed.path}: {packed.size} bytes, logits for a soft image "
            f"{packed.distance:.2g} away from the graph's", to=sys.stderr)
    say(f'wrote {path} with their entries in its card', to=sys.stderr)
    return 0


def calibrate(data: Path | None, spec: 'CardInput', count: int = 256, *, hold_out: bool = True
              ) -> 'Calibration':
    """Training images of a set, or synthetic ones where there is none.

    Args:
        hold_out: of a set without splits leave out what it is judged by.

    Raises:
        DatasetError: no such set, or nothing in it that can be used.
    """
    from shufflenet_ros.datasets.calibration import calibration_inputs, reference_inputs

    if data is None:
        return reference_inputs(spec, count)
    return calibration_inputs(data, spec, count, hold_out=hold_out)
