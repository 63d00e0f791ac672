# SPDX-License-Identifier: Apache-2.0
"""Score a network on the validation images, and decide whether it is better than guessing."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from shufflenet_ros.training.data import ImageDataset
from shufflenet_ros.zoo.normalization import Normalization, normalize

_BATCH = 250
_SIGMAS = 2.33  # guessing exceeds its mean by so many standard deviations once in a hundred runs
_LOSS_MARGIN = 0.98


@torch.no_grad()
def count_correct(model: nn.Module, data: ImageDataset, normalization: Normalization, device: torch.device,
                  rank: int = 0, world: int = 1) -> torch.Tensor:
    """Count the correct predictions in this process's share of the images.

    Returns:
        (C + 1,) float64: for each class the images whose top-1 prediction is correct; at the end, of all
        classes together, those whose class is in the top 5.
    """
    model.eval()
    correct = torch.zeros(len(data.labels) + 1, dtype=torch.float64)
    mine = np.arange(rank, len(data.targets), world)
    for start in range(0, len(mine), _BATCH):
        indices = mine[start:start + _BATCH]
        x = normalize(torch.from_numpy(data.images[indices]).to(device), normalization)
        logits = model(x.contiguous(memory_format=torch.channels_last)).cpu()
        target = torch.from_numpy(data.targets[indices]).long()
        top5 = logits.topk(min(5, logits.shape[1]), 1).indices == target[:, None]
        correct[:-1] += torch.bincount(target[top5[:, 0]], minlength=len(data.labels))
        correct[-1] += top5.any(1).sum()
    return correct


def scores(correct: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """The figures in the log for all validation images.

    Args:
        correct: (C + 1,) from `count_correct`.
        targets: (N,) the images' classes.

    Returns:
        Shares of 1: val_top1, val_top5, val_recall (the mean over the classes) and val_guess, the recall that
        lucky guessing reaches. It is 1 or more if there are too few images to tell.
    """
    count = np.bincount(targets, minlength=len(correct) - 1)
    present = count > 0
    p = 1 / int(present.sum())
    deviation = p * math.sqrt(p * (1 - p) * float((1 / count[present]).sum()))
    values = {'val_top1': correct[:-1].sum() / len(targets), 'val_top5': correct[-1] / len(targets),
              'val_recall': (correct[:-1][present] / count[present]).mean(),
              'val_guess': p + _SIGMAS * deviation}
    return {name: round(float(value), 4) for name, value in values.items()}


def learned_nothing(history: Sequence[Mapping[str, Any]], classes: int) -> str:
    """Why a run is no better than guessing, according to its log; '' if it is better.

    A network that guesses, or always predicts the same class, has a recall of 1 / classes. If there are too
    few validation images to tell, the training loss must be below that of guessing, ln(classes).

    Args:
        history: the log's lines.
    """
    if not history:
        return 'no epoch has ended yet'
    last = history[-1]
    recall, guess = last['val_recall'], last['val_guess']
    if guess < 1:
        return '' if recall > guess else (
            f'its recall on the validation images is {recall:.1%}, and guessing gets up to {guess:.1%}')
    return '' if last['loss'] < _LOSS_MARGIN * math.log(classes) else (
        f'its training loss is {last["loss"]:.3f}, and that of guessing is {math.log(classes):.3f}')
