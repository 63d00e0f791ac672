"""The first trainer: one process, a set that fits in memory, resumable after any interruption."""

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from shufflenet_ros.zoo.errors import ZooError
from shufflenet_ros.zoo.normalisation import normalise
from shufflenet_ros.zoo.registry import build
from shufflenet_ros.zoo.training.augment import colour_jitter, random_crop_flip
from shufflenet_ros.zoo.training.data import ImageSet, load_set
from shufflenet_ros.zoo.training.recipe import Recipe


def _parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay on convolutions and the linear layer alone: none on BN and biases."""
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    return [{'params': decayed, 'weight_decay': weight_decay}, {'params': plain, 'weight_decay': 0.0}]


def _batches(data: ImageSet, recipe: Recipe, epoch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Augmented batches of one epoch; order and augmentation depend on seed and epoch alone."""
    generator = torch.Generator().manual_seed(recipe.seed * 100_003 + epoch)
    order = torch.randperm(len(data.targets), generator=generator).numpy()
    px = recipe.px_at(epoch)
    for start in range(0, len(order) - recipe.batch + 1, recipe.batch):
        chosen = np.sort(order[start:start + recipe.batch])
        x = normalise(torch.from_numpy(data.images[chosen]))
        x = random_crop_flip(x, px, recipe.crop_scale, generator)
        x = colour_jitter(x, recipe.colour, generator).contiguous(memory_format=torch.channels_last)
        yield x, torch.from_numpy(data.targets[chosen])


@torch.no_grad()
def accuracy(model: nn.Module, data: ImageSet, batch: int = 250) -> tuple[float, float]:
    """(top-1, top-5) of the model on a set, as shares of 1."""
    model.eval()
    top1 = top5 = 0
    for start in range(0, len(data.targets), batch):
        logits = model(normalise(torch.from_numpy(data.images[start:start + batch])))
        target = torch.from_numpy(data.targets[start:start + batch])
        best = logits.topk(min(5, logits.shape[1]), 1).indices == target[:, None]
        top1 += int(best[:, 0].sum())
        top5 += int(best.any(1).sum())
    return top1 / len(data.targets), top5 / len(data.targets)


class Trainer:
    """Trains one recipe into a folder: checkpoint.pt (resumed when there), log.jsonl, labels.json."""

    def __init__(self, recipe: Recipe, data_tar: Path, out: Path, init: Path | None = None):
        """Read the set and start from random weights, or from those of the run in the folder init."""
        torch.manual_seed(recipe.seed)
        self.recipe, self.out = recipe, out
        self.train_set = load_set(data_tar, 'train', recipe.px)
        self.val_set = load_set(data_tar, 'val', recipe.px)
        # Channels-last is 1.3 times faster here on a CPU, and what GPUs with tensor cores want.
        model = build(recipe.config(len(self.train_set.labels)))
        self.model = model.to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.SGD(
            _parameter_groups(self.model, recipe.weight_decay),
            lr=0.0, momentum=recipe.momentum, nesterov=True,
        )
        if init is not None:
            self._start_from(init)
        self.epoch = 0
        out.mkdir(parents=True, exist_ok=True)
        (out / 'labels.json').write_text(json.dumps(self.train_set.labels))
        self._resume()

    @property
    def _checkpoint(self) -> Path:
        return self.out / 'checkpoint.pt'

    def _start_from(self, run: Path) -> None:
        if json.loads((run / 'labels.json').read_text()) != list(self.train_set.labels):
            raise ZooError(f'{run}: its classes are not those of the set')
        try:
            self.model.load_state_dict(torch.load(run / 'checkpoint.pt', weights_only=True)['model'])
        except RuntimeError as error:
            raise ZooError(f"{run}: its network is not the recipe's: {error}") from error

    def _resume(self) -> None:
        if not self._checkpoint.exists():
            return
        state = torch.load(self._checkpoint, weights_only=True)
        if state['recipe'] != json.dumps(asdict(self.recipe)):
            raise ZooError(f'{self._checkpoint} was made by another recipe: '
                           'choose another --out or delete it')
        self.model.load_state_dict(state['model'])
        self.optimizer.load_state_dict(state['optimizer'])
        self.epoch = state['epoch']

    def _save(self) -> None:
        state = {
            'recipe': json.dumps(asdict(self.recipe)), 'epoch': self.epoch,
            'model': self.model.state_dict(), 'optimizer': self.optimizer.state_dict(),
        }
        partial = self._checkpoint.with_suffix('.part')
        torch.save(state, partial)
        partial.replace(self._checkpoint)

    def _train_epoch(self) -> float:
        self.model.train()
        steps, total = len(self.train_set.targets) // self.recipe.batch, 0.0
        for step, (x, target) in enumerate(_batches(self.train_set, self.recipe, self.epoch)):
            for group in self.optimizer.param_groups:
                group['lr'] = self.recipe.rate_at(self.epoch + step / steps)
            loss = F.cross_entropy(self.model(x), target, label_smoothing=self.recipe.label_smoothing)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            total += loss.item()
            if step % 50 == 0:
                mean = total / (step + 1)
                print(f'epoch {self.epoch} step {step}/{steps} loss {mean:.3f}', file=sys.stderr)
        return total / max(1, steps)

    def run(self) -> float:
        """Train what is left of the recipe's epochs; the validation top-1 of the last."""
        top1 = 0.0
        while self.epoch < self.recipe.epochs:
            started, cpu = time.monotonic(), time.process_time()
            loss = self._train_epoch()
            self.epoch += 1
            self._save()
            top1, top5 = accuracy(self.model, self.val_set)
            line = {
                'epoch': self.epoch, 'px': self.recipe.px_at(self.epoch - 1), 'loss': round(loss, 4),
                'val_top1': round(top1, 4), 'val_top5': round(top5, 4),
                'minutes': round((time.monotonic() - started) / 60, 2),
                'core_minutes': round((time.process_time() - cpu) / 60, 2),
            }
            with (self.out / 'log.jsonl').open('a') as log:
                log.write(json.dumps(line) + '\n')
            print(json.dumps(line), file=sys.stderr)
        return top1
