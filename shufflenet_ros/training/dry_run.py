"""`train --dry-run`: what a run would be, from its data, its shapes and one step; nothing is kept."""

import resource
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from lightning_fabric import Fabric

from shufflenet_ros.training.data import ImageSet
from shufflenet_ros.training.recipe import Recipe
from shufflenet_ros.training.trainer import Trainer
from shufflenet_ros.zoo.macs import count
from shufflenet_ros.zoo.registry import name_of

_TIMED_STEPS = 2


def dry_run(recipe: Recipe, train: ImageSet, val: ImageSet, init: str, fabric: Fabric) -> dict[str, Any]:
    """Build everything, learn some steps, and tell; the teacher is not asked.

    Raises:
        ZooError: as a run would.
    """
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(replace(recipe, teacher=''), train, val, Path(folder), init=init, fabric=fabric)
        first = trainer.learn()  # the first step also allocates
        trainer.epoch = recipe.epochs - 1  # at its final size
        started = time.monotonic()
        for _ in range(_TIMED_STEPS):
            trainer.step = 0  # as a small set may have one alone
            trainer.learn()
        seconds = (time.monotonic() - started) / _TIMED_STEPS
    per_class = np.bincount(train.targets, minlength=len(train.labels))
    cost = count(trainer.model, (recipe.px, recipe.px))
    steps = len(train.targets) // recipe.batch
    pixels = sum(recipe.px_at(epoch)**2 for epoch in range(recipe.epochs)) / recipe.px**2
    return {
        'recipe': recipe.name, 'classes': len(train.labels), 'training_images': len(train.targets),
        'validation_images': len(val.targets), 'fewest_of_a_class': int(per_class.min()),
        'most_of_a_class': int(per_class.max()), 'network': name_of(trainer.model.config),
        'params': cost.params, 'macs': cost.total_macs, 'input': [recipe.batch, 3, recipe.px, recipe.px],
        'loss_of_first_step': round(first, 4), 'images_per_s': round(recipe.batch / seconds, 1),
        'minutes_for_the_run': round(pixels * steps * seconds / 60, 1),
        'memory_mb': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
