"""`shufflenet-ros export`: a trained run in, a bundle out, its accuracy measured on the exported file."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

TINY_IMAGENET_TERMS = (
    'Trained on Tiny-ImageNet, a subset of ImageNet: for non-commercial research and education only '
    '(ImageNet terms). The weights are not under the licence of the code.'
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument('--run', required=True, type=Path, help='folder that `train` filled')
    parser.add_argument('--out', type=Path, default=Path('models'),
                        help='folder for <name>.onnx (default: %(default)s)')
    parser.add_argument('--data', type=Path,
                        help='the set; its validation split is scored through the exported file')
    parser.add_argument('--data-name', default='Tiny-ImageNet (200 classes, 64 px)',
                        help='name of the set, for the card')
    parser.add_argument('--terms', default=TINY_IMAGENET_TERMS,
                        help='terms of the set, for the card')


def _card_fields(args: argparse.Namespace, recipe_name: str, epoch: int) -> dict[str, Any]:
    return {
        'training': {'data': args.data_name, 'terms': args.terms, 'recipe': f'{recipe_name}, {epoch} epochs'},
        'license': args.terms, 'source': 'trained by shufflenet_ros from random weights',
    }


def _metrics(path: Path, data: Path) -> dict[str, Any]:
    """Top-1 and top-5 of the exported file, as shares of 1, and how many pictures they rest on."""
    from shufflenet_ros.backends.open import load
    from shufflenet_ros.core.classifier import Classifier
    from shufflenet_ros.core.reasons import printable
    from shufflenet_ros.sets.errors import SetError
    from shufflenet_ros.sets.open import open_set
    from shufflenet_ros.sets.score import score

    loaded, dataset = load(str(path)), open_set(data)
    scores = score(Classifier(loaded.card, loaded.backend), dataset)
    for name, dropped in scores.skipped:
        print(f'{data}: {printable(name)} not scored: {dropped}', file=sys.stderr)
    if not len(scores.targets):
        raise SetError(f'{data}: none of its {dataset.count} pictures could be scored')
    return {'top1': round(scores.top(1), 4), 'top5': round(scores.top(5), 4), 'images': len(scores.targets),
            'set': 'validation' if dataset.split == 'val' else dataset.split or 'all of it'}


def run(args: argparse.Namespace) -> int:
    """Export, check parity, score, index."""
    import torch

    from shufflenet_ros.backends.index import write_index
    from shufflenet_ros.zoo.export import export, make_card
    from shufflenet_ros.zoo.registry import build
    from shufflenet_ros.zoo.training.recipe import Recipe

    checkpoint = args.run / 'checkpoint.pt'
    if not checkpoint.is_file():
        raise FileNotFoundError(f'{checkpoint}: expected the folder that `shufflenet-ros train --out` filled')
    state = torch.load(checkpoint, weights_only=True)
    values = json.loads(state['recipe'])
    recipe = Recipe(**{**values, 'crop_scale': tuple(values['crop_scale'])})
    labels = json.loads((args.run / 'labels.json').read_text())
    model = build(recipe.config(len(labels)))
    model.load_state_dict(state['model'])
    fields = _card_fields(args, recipe.name, state['epoch'])
    path = args.out / f'{recipe.name}.onnx'
    args.out.mkdir(parents=True, exist_ok=True)
    parity = export(model, make_card(model, recipe.name, labels, recipe.px, **fields), path)
    report: dict[str, Any] = {
        'bundle': str(path), 'parity_logits': parity.logits, 'parity_embedding': parity.embedding,
    }
    write_index(args.out)  # a file of ours is held to its index as soon as it is opened
    if args.data:
        fields['metrics'] = _metrics(path, args.data)
        report |= fields['metrics']
        export(model, make_card(model, recipe.name, labels, recipe.px, **fields), path)
    write_index(args.out)
    print(json.dumps(report))
    print(f'wrote {path} and {args.out / "index.json"}', file=sys.stderr)
    return 0
