"""Score a bundle on labeled images: accuracy, calibration, retrieval; or two bundles against each other.

SET is a folder or tar of <class>/<image> or <split>/<class>/<image>, or a bag with <bag>.labels.yaml beside
it. The exported file answers, through the very steps that the node takes. An image without an answer is
named and counted; the exit status is 1 where no image has one.
"""

import argparse
import sys
from pathlib import Path

from shufflenet_ros.bundles.locate import DEFAULT_MODEL
from shufflenet_ros.cli.backend_options import add_backend_options
from shufflenet_ros.cli.progress import progress
from shufflenet_ros.core.classifier import Classifier
from shufflenet_ros.core.console import say, say_json
from shufflenet_ros.datasets.confusion import check_target, draw_confusion, write_image
from shufflenet_ros.datasets.errors import DatasetError
from shufflenet_ros.datasets.evaluation import (
    Evaluation,
    Figures,
    comparison,
    comparison_lines,
    describe_set,
    report,
    report_lines,
    verdict,
)
from shufflenet_ros.datasets.holdout import holdout_split
from shufflenet_ros.datasets.open import open_set
from shufflenet_ros.datasets.sample import LabeledDataset
from shufflenet_ros.datasets.score import Scores, score


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the verb takes."""
    add = parser.add_argument
    add('set', metavar='SET', help='folder or tar of labeled images, or labeled bag')
    add('--model', default=DEFAULT_MODEL, help='name or path of a bundle or ONNX file (default: %(default)s)')
    add('--card', default='', metavar='FILE', help="card file for somebody else's ONNX file")
    add_backend_options(parser, of='--model')
    add('--against', default='', metavar='MODEL',
        help='a second model, compared image by image; it runs in its own precision')
    add('--within', type=_points, metavar='POINTS',
        help='with --against: status 1 where --model is more than this many points of top-1 below it')
    add('--split', default='', help='of a set that has splits (default: val)')
    add('--held-out', action='store_true',
        help='of a set without splits only what `train` holds out: the last fifth of each class')
    add('--limit', type=_count, default=0, metavar='N', help='at most N images, spread over the set')
    add('--json', action='store_true', help='one JSON object a model, then one for the comparison')
    add('--confusion', metavar='OUT.png', type=Path, help='draw who is taken for whom')
    add('--progress', action='store_true', help='progress bar even where stderr is no terminal')


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text) <= 10**9:
        raise argparse.ArgumentTypeError(f'{text!r}: expected an integer of 1 or more')
    return int(text)


def _points(text: str) -> float:
    try:
        points = float(text)
    except ValueError:
        points = -1.0
    if not 0 <= points <= 100:
        raise argparse.ArgumentTypeError(f'{text!r}: expected percentage points from 0 to 100, such as 1.0')
    return points


def run(args: argparse.Namespace) -> int:
    """Score one model or two; 0, or 1 where a model answered no image or is not within the limit.

    Raises:
        DatasetError, BagError, ModelError, ConfusionError, WriteError: see there.
    """
    if args.within is not None and not args.against:
        raise DatasetError(f'--within {args.within}: expected --against MODEL, which --model is held to')
    # Here, so that --help costs no onnxruntime.
    from shufflenet_ros.backends.load import load

    if args.confusion:
        check_target(args.confusion)
    dataset: LabeledDataset = open_set(args.set, args.split)
    if args.held_out:
        dataset = holdout_split(dataset)[1]
    models = [load(args.model, card=args.card, backend=args.backend, precision=args.precision)]
    if args.against:
        models.append(load(args.against, precision=''))
    say(describe_set(dataset), to=sys.stderr if args.json else sys.stdout)
    evaluated = []
    for model in models:
        say(model.terms, f'runs on {model.choice}', to=sys.stderr)
        scores = _score(Classifier(model.card, model.backend), dataset, args)
        evaluated.append(Evaluation(model, dataset, scores))
    if any(not len(one.scores.targets) for one in evaluated):
        say(f'none of the images of {dataset.path} could be scored', to=sys.stderr)
        return 1
    paired = comparison(*evaluated) if args.against else None
    if paired and args.within is not None:
        paired |= verdict(evaluated[0].scores, evaluated[1].scores, args.within)
    _write(evaluated, paired, args.json)
    if args.confusion:
        write_image(args.confusion, [draw_confusion(one) for one in evaluated])
    return 0 if not paired or paired.get('passed', True) else 1


def _score(classifier: Classifier, dataset: LabeledDataset, args: argparse.Namespace) -> Scores:
    """Answers on the set; images without one are named on stderr."""
    total = min(args.limit or dataset.count, dataset.count)
    with progress(total, 'image', args.progress) as advance:
        scores = score(classifier, dataset, args.limit, lambda sample: advance())
    for name, dropped in scores.skipped:
        say(f'{name}: not scored, {dropped}', to=sys.stderr)
    return scores


def _write(evaluated: list[Evaluation], paired: Figures | None, as_json: bool) -> None:
    if as_json:
        for line in [report(one) for one in evaluated] + ([paired] if paired else []):
            say_json(line)
        return
    say(*report_lines(evaluated), *(comparison_lines(paired) if paired else ()))
