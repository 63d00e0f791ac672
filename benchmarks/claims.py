# SPDX-License-Identifier: Apache-2.0
"""The paper's claims at small scale: more groups at equal cost, and shuffle against none.

    python -m benchmarks.claims --data cifar10.tar [--out runs/claims] [--seeds 3]

Trains five networks with each seed, seed by seed, so that the results are balanced after any round. Finished
runs are not repeated, and interrupted ones resume. After each round, docs/claims.json, the tables in
docs/claims.md and docs/claims.svg are rewritten. Needs the extra `train`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.claims_report import write_report
from benchmarks.figures import ROOT, provenance
from shufflenet_ros.core.files import write_whole
from shufflenet_ros.training.data import ImageDataset, load_datasets
from shufflenet_ros.training.recipe import Recipe, load_recipe
from shufflenet_ros.training.trainer import Trainer, TrainingInterruptedError
from shufflenet_ros.zoo.errors import ZooError
from shufflenet_ros.zoo.macs import count
from shufflenet_ros.zoo.registry import NETWORKS, build, name_of
from shufflenet_ros.zoo.shufflenet_v1 import ShuffleNetV1Config

# The fields of the recipe's network that a run sets.
COMPARED = {
    'g1': {'groups': 1},
    'g3': {'groups': 3},
    'g8': {'groups': 8},
    'g3_noshuffle': {'groups': 3, 'shuffle': False},
    'g8_noshuffle': {'groups': 8, 'shuffle': False},
}


def recipe_of(base: Recipe, name: str, seed: int) -> Recipe:
    """The recipe of one run.

    Raises:
        ZooError: the recipe's network is a name, which leaves no fields to set.
    """
    if not isinstance(base.network, dict):
        raise ZooError(f'recipe {base.name}: network is {base.network!r}; expected fields such as '
                       'width: 0.25')
    return dataclasses.replace(base, name=f'{base.name}-{name}-seed{seed}', seed=seed,
                               network={**base.network, **COMPARED[name]})


def describe(base: Recipe, name: str, classes: int) -> dict[str, Any]:
    """A network's channels and cost at the recipe's size, and the paper's error of its full-depth original.

    Raises:
        ZooError: the recipe's network is not a ShuffleNet v1.
    """
    config = recipe_of(base, name, 0).config(classes)
    if not isinstance(config, ShuffleNetV1Config):
        raise ZooError(f'recipe {base.name}: network is {base.network!r}; expected a ShuffleNet v1')
    cost = count(build(config), (base.px, base.px))
    original = ShuffleNetV1Config(config.groups, config.width, shuffle=config.shuffle)
    entry = NETWORKS.get(name_of(original))
    return {'stem': config.stem_channels, 'stages': list(config.stage_channels), 'macs': cost.macs,
            'params': cost.params, 'paper_error': entry.error if entry else None}


def train(recipe: Recipe, datasets: tuple[ImageDataset, ImageDataset], out: Path) -> dict[str, Any]:
    """Train one run to its end, unless it is finished; return its validation accuracy in % and its time.

    Raises:
        ZooError: `out` has a run of another recipe.
    """
    path, fields = out / 'result.json', dataclasses.asdict(recipe)
    if path.exists():
        stored = json.loads(path.read_text(encoding='utf-8'))
        if stored['recipe'] != json.loads(json.dumps(fields)):
            raise ZooError(f'{out} holds a run of another recipe: choose another --out, or delete it')
        return dict(stored['result'])
    trainer = Trainer(recipe, *datasets, out)
    accuracy = trainer.run()
    result = {'accuracy': round(100 * accuracy, 2), 'seed': recipe.seed,
              'loss': trainer.history[-1]['loss'],
              'core_minutes': round(sum(line['core_minutes'] for line in trainer.history), 2)}
    write_whole(path, json.dumps({'recipe': fields, 'result': result}).encode())
    return result


def run(base: Recipe, data: Path, out: Path, docs: Path, seeds: int) -> None:
    """All rounds, a report after each."""
    train_set, val_set = datasets = load_datasets(data, None, base.px, base.store_px)
    classes = len(train_set.labels)
    dataset = {'file': data.name, 'train': len(train_set.targets), 'val': len(val_set.targets),
               'classes': classes}
    networks = {name: describe(base, name, classes) for name in COMPARED}
    runs = []
    for seed in range(seeds):
        for name in COMPARED:
            result = train(recipe_of(base, name, seed), datasets, out / f'{name}-seed{seed}')
            runs.append({'network': name, **result})
            print(f'{name} seed {seed}: {result["accuracy"]:.2f} %, '
                  f'{result["core_minutes"]:.1f} core-minutes', flush=True)
        report = provenance(torch=torch.__version__) | {
            'recipe': dataclasses.asdict(base), 'dataset': dataset, 'networks': networks, 'seeds': seeds,
            'runs': runs}
        write_report(report, docs)


def main(arguments: Sequence[str] | None = None) -> int:
    """Train what is missing and report; 130 when interrupted."""
    parser = argparse.ArgumentParser(prog='python -m benchmarks.claims', description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', type=Path, required=True, help='folder or tar to train on')
    parser.add_argument('--recipe', default='claims')
    parser.add_argument('--out', type=Path, default=Path('runs') / 'claims', help='folder of the runs')
    parser.add_argument('--docs', type=Path, default=ROOT / 'docs', help='folder of the report')
    parser.add_argument('--seeds', type=int, default=3)
    parser.add_argument('--threads', type=int, default=1)
    args = parser.parse_args(arguments)
    if args.seeds < 1:
        parser.error(f'--seeds {args.seeds}: expected at least 1')
    torch.set_num_threads(args.threads)
    try:
        run(load_recipe(args.recipe), args.data, args.out, args.docs, args.seeds)
    except TrainingInterruptedError as interrupted:
        print(f'{interrupted}; the same command resumes', file=sys.stderr)
        return 130
    print(f'written to {args.docs / "claims.md"}, .json and .svg')
    return 0


if __name__ == '__main__':
    sys.exit(main())
