# SPDX-License-Identifier: Apache-2.0
"""What loading data costs in training: the trainer's steps against bare forward and backward passes.

    python -m benchmarks.training --data tiny-imagenet.tar [--recipe NAME] [--threads 1]

Both run the same network, batch size and optimizer. The bare loop uses one batch that is ready in memory.
They alternate (A B A B), because shared machines drift. The ratio is the median over the rounds. Needs the
extra `train`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from benchmarks.timing import alternate
from shufflenet_ros.training.batches import loss_of
from shufflenet_ros.training.data import load_datasets
from shufflenet_ros.training.recipe import load_recipe
from shufflenet_ros.training.trainer import Trainer

ROUNDS, STEPS = 6, 3


def bare_step(trainer: Trainer) -> Callable[[], object]:
    """Forward, backward and the optimizer's step on one batch that is ready."""
    batch = trainer._batches.batch(trainer.recipe.epochs - 1, 0)

    def step() -> None:
        loss = loss_of(trainer._network(batch.x), batch, trainer.recipe)
        trainer._optimizer.zero_grad()
        trainer.fabric.backward(loss)
        trainer._optimizer.step()

    return step


def repeat(step: Callable[[], object]) -> None:
    """STEPS steps."""
    for _ in range(STEPS):
        step()


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
        times = alternate({'bare': partial(repeat, bare_step(trainer)),
                           'trainer': partial(repeat, trainer.train_step)}, ROUNDS)
    images = STEPS * recipe.batch
    report = {f'{name}_images_per_s': round(images / statistics.median(seconds), 1)
              for name, seconds in times.items()}
    ratio = statistics.median(bare / trainer for bare, trainer in zip(times['bare'], times['trainer']))
    print(json.dumps({'recipe': args.recipe, 'threads': args.threads, **report,
                      'trainer_of_bare': round(ratio, 3)}))


if __name__ == '__main__':
    main()
