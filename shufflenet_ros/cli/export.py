# SPDX-License-Identifier: Apache-2.0
"""Make a bundle from a run of `train`, and score the exported file."""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from shufflenet_ros.backends.load import load
from shufflenet_ros.bundles.bundle import open_bundle
from shufflenet_ros.bundles.index import write_index
from shufflenet_ros.bundles.variants import PRECISIONS, VariantUnavailableError
from shufflenet_ros.core.console import say, say_json
from shufflenet_ros.core.files import writing
from shufflenet_ros.datasets.calibration import calibration_inputs, reference_inputs
from shufflenet_ros.datasets.errors import DatasetError
from shufflenet_ros.datasets.holdout import holdout_split
from shufflenet_ros.datasets.labeled_dataset import LabeledDataset
from shufflenet_ros.datasets.open_dataset import open_dataset
from shufflenet_ros.datasets.score import accuracy
from shufflenet_ros.packer.pack import CONVERSIONS, pack, write_with_card
from shufflenet_ros.packer.score_variants import score_variants
from shufflenet_ros.zoo.errors import ZooError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add = parser.add_argument
    add('--run', required=True, type=Path, help='folder of a run of `train`')
    add('--out', type=Path, default=Path('models'), help='folder for <name>.onnx (default: %(default)s)')
    add('--data', type=Path, help="the run's dataset; the exported file is scored on its validation images")
    add('--val', type=Path, help='the validation dataset, if `train` was given one')
    add('--data-name', default='', help="name of the dataset, for the card (default: the recipe's)")
    add('--terms', default='', help="terms of the dataset, for the card (default: the recipe's)")
    add('--crop', type=float, default=1.0,
        help='fraction of the short side that the robot uses (default: %(default)s)')
    add('--precision', nargs='+', choices=PRECISIONS, default=(), metavar='P',
        help='also write variants for the native kernels: fp32, fp16, int8; calibrated on the training '
             'images of --data, or on synthetic ones without it')
    add('--force', action='store_true', help='export even a run that ended no better than guessing')


def run(args: argparse.Namespace) -> int:
    """Export, check parity, score, index, pack."""
    # Imported here so that --help does not load torch.
    from shufflenet_ros.training.checkpoint import read_normalization
    from shufflenet_ros.zoo.export import export, make_card
    from shufflenet_ros.zoo.registry import build, config_of

    if not 0 < args.crop <= 1:
        raise ZooError(f'--crop {args.crop}: expected a number above 0 and up to 1')
    state, recipe = _read_run(args.run, args.force)
    model = build(config_of(state['network'], len(state['labels'])))
    model.load_state_dict(state['ema'] or state['model'])
    fields = _card_fields(args, state, recipe)
    card = make_card(model, recipe.name, state['labels'], recipe.px, args.crop, **fields)
    path = args.out / f'{recipe.name}.onnx'
    with writing(args.out):
        args.out.mkdir(parents=True, exist_ok=True)
    parity = export(model, card, path, read_normalization(state))
    write_index(args.out)  # before it is opened: a file in an index is checked against it
    report = {'bundle': str(path), 'parity_logits': parity.logits, 'parity_embedding': parity.embedding}
    validation = None
    if args.data or args.val:
        validation = _validation_set(args.data, args.val, state['datasets']['training'])
        report |= _score(path, validation)
    if args.precision:
        report['variants'] = _pack(path, args, validation)
    say_json(report)
    say(f'wrote {path} and {args.out / "index.json"}', to=sys.stderr)
    return 0


def _read_run(run: Path, force: bool) -> tuple[dict[str, Any], Any]:
    """The checkpoint of a run, and its recipe."""
    from shufflenet_ros.training.checkpoint import FILE, read_checkpoint
    from shufflenet_ros.training.recipe import make_recipe
    from shufflenet_ros.training.validation import learned_nothing

    state = read_checkpoint(run)
    if state is None:
        raise FileNotFoundError(f'{run / FILE}: expected the folder of a run of `shufflenet-ros train`')
    if (why := learned_nothing(state['history'], len(state['labels']))) and not force:
        raise ZooError(f'--run {run}: has learned nothing: {why}; train again with more epochs, as '
                       '`train` suggested at its end, or add --force')
    return state, make_recipe(json.loads(state['recipe']), str(run))


def _card_fields(args: argparse.Namespace, state: dict[str, Any], recipe: Any) -> dict[str, Any]:
    """Data, terms and origin. Weights inherit terms, so those of the initial weights are added."""
    data = args.data_name or recipe.data or (args.data.name if args.data else 'not stated')
    terms, origin = args.terms or recipe.terms or 'not stated', state['origin']
    if origin['terms'] and origin['terms'] not in terms:
        terms = (f'{terms.rstrip(".")}. Started from {origin["source"]}, whose terms also apply: '
                 f'{origin["terms"]}')
    start = f'weights of {origin["source"]}' if origin['source'] else 'random weights'
    return {'training': {'data': data, 'terms': terms, 'recipe': f'{recipe.name}, {state["epoch"]} epochs'},
            'license': 'no license of their own; the terms of their data apply',
            'source': f'trained by shufflenet_ros from {start}'}


def _validation_set(data: Path, val: Path | None, trained_on: int) -> LabeledDataset:
    """The images that validated the run, which was trained on `trained_on` others."""
    dataset = open_dataset(val or data)
    if val or dataset.split:
        return dataset
    rest, held_out = holdout_split(dataset)
    if trained_on > rest.count:
        raise DatasetError(f'--data {data}: the run was trained on {trained_on} images, and only '
                           f'{rest.count} of these are not held out: expected --val with the data that '
                           'validated the run')
    return held_out


def _score(path: Path, dataset: LabeledDataset) -> dict[str, Any]:
    """Measure the accuracy of the exported file and write it into the card."""
    model = load(str(path), backend='onnxruntime', precision='')
    kind = 'validation' if dataset.split == 'val' else dataset.split or 'another set'
    metrics = accuracy(model, dataset) | {'set': kind}
    write_with_card(model.bundle, replace(model.card, metrics=metrics), path)
    return metrics


def _pack(path: Path, args: argparse.Namespace, validation: LabeledDataset | None) -> list[str]:
    """Write the native variants, and score them too; returns the names of their files."""
    bundle, calibration = open_bundle(str(path)), None
    if CONVERSIONS.keys() & set(args.precision):
        # Without --val, some of --data validated the run; these are no training images.
        calibration = (calibration_inputs(args.data, bundle.card.input, hold_out=not args.val) if args.data
                       else reference_inputs(bundle.card.input))
    variants = [packed.variant for packed in pack(bundle, args.precision, calibration)]
    if validation is not None:
        try:
            score_variants(path, validation, [variant.precision for variant in variants])
        except VariantUnavailableError as error:
            say(f'variants not scored: {error}', to=sys.stderr)
    return [variant.file for variant in variants]
