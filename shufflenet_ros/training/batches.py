# SPDX-License-Identifier: Apache-2.0
"""Augmented batches, each determined only by epoch and step."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from shufflenet_ros.training.augment import (
    COLOR_NUMBERS,
    CROP_NUMBERS,
    color_jitter,
    crop_flip,
    cutmix,
    mixup,
)
from shufflenet_ros.training.data import ImageDataset
from shufflenet_ros.training.recipe import Recipe
from shufflenet_ros.zoo.errors import ZooError
from shufflenet_ros.zoo.normalization import Normalization, normalize

# A dataset stays in GPU memory if it needs at most this share of the free memory.
GPU_SHARE = 0.5


@dataclass(frozen=True)
class Batch:
    """The input of one training step.

    Attributes:
        x: (N, 3, px, px) float32, normalized, channels last.
        targets: (N, 1, C) float32, the labels as distributions; with a teacher (N, 2, C), also its softened
            probabilities.
    """

    x: torch.Tensor
    targets: torch.Tensor


class Batches:
    """The batches of a dataset on one device; if several processes train, its share of each batch.

    Attributes:
        steps: batches in an epoch. Each epoch skips the images that are left over after its last full batch.
    """

    def __init__(self, data: ImageDataset, recipe: Recipe, normalization: Normalization, device: torch.device,
                 teacher: np.ndarray | None = None, rank: int = 0, world: int = 1):
        """Move the images to a GPU if they fit.

        Args:
            teacher: (N, C) logits for the images.
            rank, world: number of this process from 0, and of all processes that share each batch.

        Raises:
            ZooError: fewer images than a batch, a batch that cannot be shared evenly, or logits of another
                dataset.
        """
        count = len(data.targets)
        if count < recipe.batch:
            raise ZooError(f'batch is {recipe.batch}: expected at most the {count} training images; '
                           f'--set batch={max(1, count // 4)}')
        if recipe.batch == world and not recipe.frozen:
            raise ZooError(f'batch is {recipe.batch} for {world} processes: expected at least two images '
                           'each, because BN learns from their spread; --set frozen=norms trains with one')
        if recipe.batch % world:
            raise ZooError(f'batch is {recipe.batch}: expected a multiple of the {world} processes that '
                           'share it')
        if teacher is not None and teacher.shape != (count, len(data.labels)):
            raise ZooError(f"the teacher's logits are of shape {teacher.shape}: expected "
                           f'{(count, len(data.labels))}: training images, classes')
        self._data, self._recipe, self._normalization, self._device = data, recipe, normalization, device
        self._teacher, self._rank, self._world = teacher, rank, world
        self.steps = count // recipe.batch
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0))
        self._on_gpu = self._to_gpu()

    def _to_gpu(self) -> torch.Tensor | None:
        if self._device.type != 'cuda':
            return None
        free, _ = torch.cuda.mem_get_info(self._device)
        if self._data.images.nbytes > GPU_SHARE * free:
            return None
        return torch.from_numpy(np.ascontiguousarray(self._data.images)).to(self._device)

    def _indices(self, epoch: int, step: int) -> np.ndarray:
        if self._order[0] != epoch:
            rng = np.random.default_rng([self._recipe.seed, epoch])
            self._order = epoch, rng.permutation(len(self._data.targets))
        size = self._recipe.batch
        return self._order[1][step * size:(step + 1) * size]

    def _pixels(self, indices: np.ndarray) -> torch.Tensor:
        if self._on_gpu is not None:
            return self._on_gpu[torch.from_numpy(indices).to(self._device)]
        # In the file's order, so that a dataset that does not fit in memory is read forwards.
        order = np.argsort(indices)
        pixels = self._data.images[indices[order]][np.argsort(order)]
        return torch.from_numpy(pixels).to(self._device, non_blocking=True)

    def batch(self, epoch: int, step: int) -> Batch:
        """This device's share of a batch."""
        recipe = self._recipe
        rng = np.random.default_rng([recipe.seed, epoch, step])
        rand = torch.from_numpy(rng.random((recipe.batch, CROP_NUMBERS + COLOR_NUMBERS), np.float32))
        size = recipe.batch // self._world
        share = slice(self._rank * size, (self._rank + 1) * size)
        indices, rand = self._indices(epoch, step)[share], rand[share]
        x = normalize(self._pixels(indices), self._normalization)
        x = crop_flip(x, recipe.px_at(epoch), recipe.crop_scale, recipe.rotate90, rand[:, :CROP_NUMBERS])
        x = color_jitter(x, recipe.color_jitter, rand[:, CROP_NUMBERS:])
        x, targets = self._mix(x, self._targets(indices), rng)
        return Batch(x.contiguous(memory_format=torch.channels_last), targets)

    def _targets(self, indices: np.ndarray) -> torch.Tensor:
        classes, smoothing = len(self._data.labels), self._recipe.label_smoothing
        hard = F.one_hot(torch.from_numpy(self._data.targets[indices]), classes).float()
        targets = [hard * (1 - smoothing) + smoothing / classes]
        if self._teacher is not None:
            logits = torch.from_numpy(self._teacher[indices]).float()
            targets.append((logits / self._recipe.temperature).softmax(1))
        return torch.stack(targets, 1).to(self._device)

    def _mix(self, x: torch.Tensor, targets: torch.Tensor, rng: np.random.Generator
             ) -> tuple[torch.Tensor, torch.Tensor]:
        alphas = {name: alpha for name, alpha in
                  (('mixup', self._recipe.mixup), ('cutmix', self._recipe.cutmix)) if alpha > 0}
        if not alphas:
            return x, targets
        kind = sorted(alphas)[rng.integers(len(alphas))]
        share, center = float(rng.beta(alphas[kind], alphas[kind])), tuple(rng.random(2))
        return mixup(x, targets, share) if kind == 'mixup' else cutmix(x, targets, share, center)


def loss_of(logits: torch.Tensor, batch: Batch, recipe: Recipe) -> torch.Tensor:
    """Cross entropy with the labels, and with the teacher's probabilities if there are any.

    The teacher's part is scaled by T^2, so that its gradient keeps its size at any temperature (Hinton et
    al. 2015, section 2).

    Args:
        logits: (N, C).
    """
    labels, *teacher = batch.targets.unbind(1)
    loss = F.cross_entropy(logits, labels)
    if not teacher:
        return loss
    softened = F.cross_entropy(logits / recipe.temperature, teacher[0]) * recipe.temperature**2
    return (1 - recipe.distill_weight) * loss + recipe.distill_weight * softened
