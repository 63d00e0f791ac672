# SPDX-License-Identifier: Apache-2.0
"""The cost of loading data in training: the trainer's steps against bare forward and backward passes.

    python -m benchmarks.training --data tiny-imagenet.tar [--recipe NAME] [--threads 1]

Both run the same network, batch size and optimizer. The bare loop uses one batch that is ready in memory.
They alternate (A B A B), because shared machines drift. The ratio is the median over the rounds. Needs the
extra `train`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from shufflenet_ros.training.batches import loss_of
from shufflenet_ros.training.data import load_datasets
from shufflenet_ros.training.recipe import load_recipe
from shufflenet_ros.training.trainer import Trainer

ROUNDS, STEPS = 6, 3


def bare_step(trainer: Trainer) -> Callable[[], float]:
    """Forward, backward and the optimizer's step on one batch that is ready."""
    batch = trainer._batches.batch(trainer.recipe.epochs - 1, 0)

    def step() -> float:
        loss = loss_of(trainer._network(batch.x), batch, trainer.recipe)
        trainer._optimizer.zero_grad()
        trainer.fabric.backward(loss)
        trainer._optimizer.step()
        return float(loss.detach())

    return step


def seconds(step: Callable[[], float]) -> float:
    """The time for STEPS steps."""
    started = time.perf_counter()
    for _ in range(STEPS):
        step()
    return time.perf_counter() - started


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog='python -m benchmarks.training', description=__doc__)
    parser.add_argument('--data', type=Path, required=True)
    parser.add_argument('--recipe', default='tiny_imagenet_x0_5_g3')
    parser.add_argument('--init', default='')
    parser.add_argument('--threads', type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    recipe = load_recipe(args.recipe, ['teacher='])
    train, val = load_datasets(args.data, None, recipe.px, recipe.store_px)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(recipe, train, val, Path(folder), init=args.init)
        trainer.epoch = recipe.epochs - 1  # at the final size
        steps = {'bare': bare_step(trainer), 'trainer': trainer.train_step}
        for step in steps.values():
            step()
        rounds = []
        for number in range(ROUNDS):
            rounds.append({name: seconds(step) for name, step in steps.items()})
            print(f'round {number + 1} of {ROUNDS}: {rounds[-1]}', file=sys.stderr)
    images = STEPS * recipe.batch
    report = {f'{name}_images_per_s': round(images / statistics.median(r[name] for r in rounds), 1)
              for name in steps}
    ratio = statistics.median(r['bare'] / r['trainer'] for r in rounds)
    print(json.dumps({'recipe': args.recipe, 'threads': args.threads, **report,
                      'trainer_of_bare': round(ratio, 3)}))


if __name__ == '__main__':
    main()
