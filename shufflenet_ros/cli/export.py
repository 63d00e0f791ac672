"""`shufflenet-ros export`: a trained run in, a bundle out, its accuracy measured on the exported file."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shufflenet_ros.cli.models_pack import PRECISIONS, calibrate
from shufflenet_ros.core.console import say, say_json
from shufflenet_ros.core.files import writing

if TYPE_CHECKING:
    from shufflenet_ros.datasets.labeled_dataset import LabeledDataset


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument('--run', required=True, type=Path, help='folder that `train` filled')
    parser.add_argument('--out', type=Path, default=Path('models'),
                        help='folder for <name>.onnx (default: %(default)s)')
    parser.add_argument('--data', type=Path,
                        help='the set; what of it validated the run is scored through the exported file')
    parser.add_argument('--val', type=Path,
                        help='the other set that validated the run, where `train` had one')
    parser.add_argument('--data-name', default='',
                        help="name of the set, for the card (default: the recipe's)")
    parser.add_argument('--terms', default='', help="terms of the set, for the card (default: the recipe's)")
    parser.add_argument('--crop', type=float, default=1.0,
                        help='fraction of the short side that the robot looks at (default: %(default)s)')
    parser.add_argument('--precision', nargs='+', choices=PRECISIONS, default=(), metavar='P',
                        help='also write what our own kernels run, in fp32, fp16, int8; calibrated on the '
                             'training images of --data, without it on synthetic ones')
    parser.add_argument('--force', action='store_true',
                        help='export a run that ended no better than guessing, too')


def _card_fields(args: argparse.Namespace, state: dict[str, Any], recipe: Any) -> dict[str, Any]:
    """Data, terms and origin. Weights inherit terms, so those of what the run started from come along."""
    data = args.data_name or recipe.data or (args.data.name if args.data else 'not stated')
    terms, before = args.terms or recipe.terms or 'not stated', state['start']
    if before['terms'] and before['terms'] not in terms:
        terms = (f'{terms.rstrip(".")}. Started from {before["source"]}, whose terms also hold: '
                 f'{before["terms"]}')
    origin = f'weights of {before["source"]}' if before['source'] else 'random weights'
    return {'training': {'data': data, 'terms': terms, 'recipe': f'{recipe.name}, {state["epoch"]} epochs'},
            'license': 'none of their own: the terms of their data hold',
            'source': f'trained by shufflenet_ros from {origin}'}


def _validation_set(data: Path | None, val: Path | None, learned: int) -> 'LabeledDataset':
    """What validated the run, nothing of which it learned from.

    Args:
        learned: how many images the run learned from.
    """
    from shufflenet_ros.datasets.errors import DatasetError
    from shufflenet_ros.datasets.holdout import holdout_split
    from shufflenet_ros.datasets.open_dataset import open_dataset

    dataset = open_dataset(val or data)
    if not val and not dataset.split:
        rest, dataset = holdout_split(dataset)
        if learned > rest.count:
            raise DatasetError(f'--data {data}: the run learned from {learned} images, and only {rest.count} '
                           'of these are not held out: expected --val with the set that validated the run')
    return dataset


def _metrics(path: Path, dataset: 'LabeledDataset') -> dict[str, Any]:
    """Accuracy of the exported file, and on which part of its set."""
    from shufflenet_ros.backends.load import load
    from shufflenet_ros.datasets.score import accuracy

    found = accuracy(load(str(path), backend='onnxruntime', precision=''), dataset)
    return found | {'set': 'validation' if dataset.split == 'val' else dataset.split or 'another set'}


def _pack(path: Path, args: argparse.Namespace, judges: 'LabeledDataset | None') -> list[str]:
    """Write the native variants and score them too; the names of their files.

    Where no other set validated the run, what of --data did is no training image.
    """
    from shufflenet_ros.bundles.bundle import open_bundle
    from shufflenet_ros.packer.pack import CONVERSIONS, pack

    bundle = open_bundle(str(path))
    calibration = None
    if CONVERSIONS.keys() & set(args.precision):
        calibration = calibrate(args.data, bundle.card.input, hold_out=not args.val)
    made = pack(bundle, args.precision, calibration)
    if judges is not None:
        from shufflenet_ros.bundles.variants import VariantUnavailableError
        from shufflenet_ros.packer.score_variants import score_variants
        try:
            score_variants(path, judges, [packed.variant.precision for packed in made])
        except VariantUnavailableError as error:
            say(f'variants not scored: {error}', to=sys.stderr)
    return [packed.variant.file for packed in made]


def run(args: argparse.Namespace) -> int:
    """Export, check parity, score, index, pack."""
    from shufflenet_ros.bundles.index import write_index
    from shufflenet_ros.training.checkpoint import FILE, read_checkpoint
    from shufflenet_ros.training.recipe import make_recipe
    from shufflenet_ros.training.validation import learned_nothing
    from shufflenet_ros.zoo.errors import ZooError
    from shufflenet_ros.zoo.export import export, make_card
    from shufflenet_ros.zoo.normalization import Normalization
    from shufflenet_ros.zoo.registry import build, config_of

    if not 0 < args.crop <= 1:
        raise ZooError(f'--crop {args.crop}: expected a number above 0 and up to 1')
    state = read_checkpoint(args.run)
    if state is None:
        raise FileNotFoundError(f'{args.run / FILE}: expected the folder that `shufflenet-ros train --out` '
                                'filled')
    recipe = make_recipe(json.loads(state['recipe']), str(args.run))
    labels = state['labels']
    if (why := learned_nothing(state['history'], len(labels))) and not args.force:
        raise ZooError(f'--run {args.run}: has learned nothing: {why}; train again with more epochs, as the '
                       'end of `train` says, or add --force')
    model = build(config_of(state['network'], len(labels)))
    model.load_state_dict(state['ema'] or state['model'])
    by = Normalization(*(tuple(state['normalization'][key]) for key in ('mean', 'std')))
    fields = _card_fields(args, state, recipe)
    path = args.out / f'{recipe.name}.onnx'
    with writing(args.out):
        args.out.mkdir(parents=True, exist_ok=True)
    parity = export(model, make_card(model, recipe.name, labels, recipe.px, args.crop, **fields), path, by)
    report: dict[str, Any] = {
        'bundle': str(path), 'parity_logits': parity.logits, 'parity_embedding': parity.embedding,
    }
    write_index(args.out)  # a file of ours is held to its index as soon as it is opened
    judges = _validation_set(args.data, args.val, state['sets']['learned']) if args.data or args.val else None
    if judges is not None:
        fields['metrics'] = _metrics(path, judges)
        report |= fields['metrics']
        export(model, make_card(model, recipe.name, labels, recipe.px, args.crop, **fields), path, by)
    write_index(args.out)
    if args.precision:
        report['variants'] = _pack(path, args, judges)
    say_json(report)
    say(f'wrote {path} and {args.out / "index.json"}', to=sys.stderr)
    return 0
