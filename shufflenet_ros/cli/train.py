# SPDX-License-Identifier: Apache-2.0
"""Train a network by a recipe on labeled images; writes a checkpoint, a log and curves.

The dataset is a folder or tar of <split>/<class>/* or <class>/*, or a bag with <bag>.labels.yaml beside it.
Run the same command again to resume an interrupted run. On several GPUs or machines:
torchrun --nproc-per-node 4 -m shufflenet_ros.cli train ...
"""

import argparse
import shlex
import sys
from contextlib import nullcontext
from pathlib import Path

from lightning_fabric import Fabric

from shufflenet_ros.bundles.locate import cache_root
from shufflenet_ros.core.console import say, say_json
from shufflenet_ros.training.checkpoint import lock_run
from shufflenet_ros.training.data import load_datasets
from shufflenet_ros.training.devices import make_fabric
from shufflenet_ros.training.dry_run import dry_run
from shufflenet_ros.training.recipe import Recipe, load_recipe
from shufflenet_ros.training.trainer import Trainer, TrainingInterruptedError

LEARNED_NOTHING = 1  # exit status of a run that ends no better than guessing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add = parser.add_argument
    add('--recipe', required=True, help='name of a shipped recipe, or a YAML file')
    add('--data', required=True, type=Path, help='folder, tar or labeled bag to train on')
    add('--val', type=Path,
        help='another dataset to validate on (default: the split val, or the last fifth of each class)')
    add('--init', default='',
        help='initial weights: a bundle by name or path, a .pt from `models import`, or a run')
    add('--out', type=Path,
        help='folder of the run, resumed if it exists (default: runs/<name of the recipe>)')
    add('--set', action='append', default=[], metavar='FIELD=VALUE', dest='overrides',
        help='override a field of the recipe, such as epochs=5; may be repeated')
    add('--device', choices=('auto', 'cpu', 'cuda'), default='auto',
        help='device to train on; auto: a GPU if there is one')
    add('--threads', type=int, default=0, help='CPU threads (default: torch decides)')
    add('--compile', action='store_true',
        help='use torch.compile: takes a minute, then may be faster; on a CPU it needs g++')
    add('--dry-run', action='store_true',
        help='check data and shapes, time a few steps, print both as JSON, keep nothing')


def run(args: argparse.Namespace) -> int:
    """Train the recipe to its end; LEARNED_NOTHING if the result is no better than guessing."""
    recipe = load_recipe(args.recipe, args.overrides)
    fabric = make_fabric(args.device, args.threads)
    args.out = args.out or Path('runs') / recipe.name
    with lock_run(args.out) if fabric.is_global_zero and not args.dry_run else nullcontext():
        return _train(args, recipe, fabric)


def _train(args: argparse.Namespace, recipe: Recipe, fabric: Fabric) -> int:
    with fabric.rank_zero_first():  # the others read its cache
        train, val = load_datasets(args.data, args.val, recipe.px, recipe.store_px)
    if args.dry_run:
        report = dry_run(recipe, train, val, args.init, fabric)
        if fabric.is_global_zero:
            say_json(report)
        return 0
    teacher = None
    if recipe.teacher:
        from shufflenet_ros.training.teacher import teacher_logits  # only teachers need scikit-learn
        with fabric.rank_zero_first():
            result = teacher_logits(recipe.teacher, train, val, recipe.teacher_px, cache_root() / 'teachers')
        teacher = result.logits
        say(f'teacher {recipe.teacher}: validation top-1 {result.val_top1:.4f}', to=sys.stderr)
    trainer = Trainer(recipe, train, val, args.out, init=args.init, teacher=teacher, fabric=fabric,
                      compiled=args.compile)
    try:
        top1 = trainer.run()
    except TrainingInterruptedError as interrupted:
        say(f'{interrupted}; the same command resumes', to=sys.stderr)
        return 130
    if why := trainer.learned_nothing():
        say(_learned_nothing(recipe, args.out, why), to=sys.stderr)
        return LEARNED_NOTHING
    export = ['shufflenet-ros', 'export', '--run', str(args.out), '--data', str(args.data)]
    export += ['--val', str(args.val)] if args.val else []
    say(f'{recipe.name}: validation top-1 {top1:.4f}; next: {shlex.join(export)}', to=sys.stderr)
    return 0


def _learned_nothing(recipe: Recipe, out: Path, why: str) -> str:
    """More steps are what a small dataset needs most; batches below 8 are too few images for BN."""
    batch = min(recipe.batch, max(8, recipe.batch // 4))
    again = ['--set', f'epochs={4 * recipe.epochs}', '--set', f'batch={batch}', '--out', f'{out}-again']
    return (f'ERROR: {recipe.name} has learned nothing: {why}. {out} keeps the run; `export` needs --force '
            'for it. Check that the labels are right, then add more and smaller steps to the same command: '
            f'{shlex.join(again)}')
