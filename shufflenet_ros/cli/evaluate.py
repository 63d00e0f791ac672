# SPDX-License-Identifier: Apache-2.0
"""Score a bundle on labeled images: accuracy, calibration, retrieval; or compare two bundles.

DATASET is a folder or tar of <class>/<image> or <split>/<class>/<image>, or a bag with <bag>.labels.yaml
beside it. The exported file is scored with the node's steps. An image without a result is reported and
counted; the exit status is 1 if no image has a result.
"""

import argparse
import sys
from pathlib import Path

from shufflenet_ros.backends.load import load
from shufflenet_ros.cli.options import add_model_options, number, progress
from shufflenet_ros.core.classifier import Classifier
from shufflenet_ros.core.console import say, say_json
from shufflenet_ros.datasets import evaluation
from shufflenet_ros.datasets.confusion import check_confusion_path, write_confusion
from shufflenet_ros.datasets.errors import DatasetError
from shufflenet_ros.datasets.holdout import holdout_split
from shufflenet_ros.datasets.open_dataset import open_dataset
from shufflenet_ros.datasets.score import score


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add = parser.add_argument
    add('dataset', metavar='DATASET', help='folder or tar of labeled images, or labeled bag')
    add_model_options(parser, of='--model')
    add('--against', default='', metavar='MODEL',
        help='a second model, compared image by image; it runs in its own precision')
    add('--within', type=number(float, 0, 100, 'percentage points from 0 to 100, such as 1.0'),
        metavar='POINTS',
        help='with --against: status 1 if --model is more than this many points of top-1 below it')
    add('--split', default='', help='split to score, if the dataset has splits (default: val)')
    add('--held-out', action='store_true',
        help='score only what `train` holds out of a dataset without splits: the last fifth of each class')
    add('--limit', type=number(int, 1, 10**9, 'an integer of 1 or more'), default=0, metavar='N',
        help='score at most N images, spread evenly')
    add('--json', action='store_true', help='one JSON object per model, then one for the comparison')
    add('--confusion', metavar='OUT.png', type=Path, help='draw the confusion matrix (needs matplotlib)')
    add('--progress', action='store_true', help='show the progress bar even if stderr is not a terminal')


def run(args: argparse.Namespace) -> int:
    """Score one model or two; 0, or 1 if a model has no result at all or is not within the limit.

    Raises:
        DatasetError, BagError, ModelError, ConfusionError, WriteError: as their docstrings say.
    """
    if args.within is not None and not args.against:
        raise DatasetError(f'--within {args.within}: expected --against MODEL to compare --model with')
    if args.confusion:
        check_confusion_path(args.confusion)
    dataset = open_dataset(args.dataset, args.split)
    if args.held_out:
        dataset = holdout_split(dataset)[1]
    models = [load(args.model, card=args.card, backend=args.backend, precision=args.precision)]
    if args.against:
        models.append(load(args.against, precision=''))
    say(evaluation.describe_dataset(dataset), to=sys.stderr if args.json else sys.stdout)
    evaluations = []
    for model in models:
        say(model.terms, f'runs on {model.choice}', to=sys.stderr)
        with progress(min(args.limit or dataset.count, dataset.count), 'image', args.progress) as advance:
            scores = score(Classifier(model.card, model.backend), dataset, args.limit, advance)
        say(*(f'{name}: not scored, {error}' for name, error in scores.skipped), to=sys.stderr)
        evaluations.append(evaluation.Evaluation(model, dataset, scores))
    if not all(len(one.scores.targets) for one in evaluations):
        say(f'none of the images of {dataset.path} could be scored', to=sys.stderr)
        return 1
    within = _print_figures(evaluations, args)
    if args.confusion:
        write_confusion(args.confusion, evaluations)
    return 0 if within else 1


def _print_figures(evaluations: list[evaluation.Evaluation], args: argparse.Namespace) -> bool:
    """Print the figures and the comparison; False if --model is not within the limit."""
    figures = [evaluation.model_figures(one) for one in evaluations]
    comparison = evaluation.compare(*evaluations) if args.against else {}
    if args.within is not None:
        first, second = (one.scores for one in evaluations)
        comparison |= evaluation.within_limit(first, second, args.within)
    if args.json:
        for line in filter(None, [*figures, comparison]):
            say_json(line)
    else:
        say(*evaluation.figures_text(figures))
        if comparison:
            say(*evaluation.comparison_text(comparison))
    return bool(comparison.get('within_limit', True))
