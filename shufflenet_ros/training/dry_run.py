# SPDX-License-Identifier: Apache-2.0
"""`train --dry-run`: check data and shapes, time a few steps, keep nothing."""

import resource
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from lightning_fabric import Fabric

from shufflenet_ros.training.data import ImageDataset
from shufflenet_ros.training.recipe import Recipe
from shufflenet_ros.training.trainer import Trainer
from shufflenet_ros.zoo.macs import count
from shufflenet_ros.zoo.registry import name_of

_TIMED_STEPS = 2


def dry_run(recipe: Recipe, train: ImageDataset, val: ImageDataset, init: str, fabric: Fabric
            ) -> dict[str, Any]:
    """Build everything but the teacher, train some steps, and report.

    Raises:
        ZooError: see `Trainer`.
    """
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(replace(recipe, teacher=''), train, val, Path(folder), init=init, fabric=fabric)
        first = trainer.train_step()  # the first step also allocates
        trainer.epoch = recipe.epochs - 1  # with images of the final size
        started = time.monotonic()
        for _ in range(_TIMED_STEPS):
            trainer.step = 0  # a small dataset may have only one
            trainer.train_step()
        seconds = (time.monotonic() - started) / _TIMED_STEPS
    per_class = np.bincount(train.targets, minlength=len(train.labels))
    cost = count(trainer.model, (recipe.px, recipe.px))
    steps = len(train.targets) // recipe.batch
    epochs = sum(recipe.px_at(epoch)**2 for epoch in range(recipe.epochs)) / recipe.px**2
    return {
        'recipe': recipe.name, 'classes': len(train.labels), 'training_images': len(train.targets),
        'validation_images': len(val.targets), 'smallest_class': int(per_class.min()),
        'largest_class': int(per_class.max()), 'network': name_of(trainer.model.config),
        'params': cost.params, 'macs': cost.macs, 'input': [recipe.batch, 3, recipe.px, recipe.px],
        'first_loss': round(first, 4), 'images_per_s': round(recipe.batch / seconds, 1),
        'estimated_minutes': round(epochs * steps * seconds / 60, 1),
        'memory_mb': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
