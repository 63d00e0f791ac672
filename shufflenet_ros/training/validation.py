"""How a network does on the validation set, and whether that is better than guessing."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from shufflenet_ros.training.data import ImageSet
from shufflenet_ros.zoo.normalization import Normalization, normalize

_BATCH = 250
_SIGMAS = 2.33  # a network that guesses gets above so many standard deviations once in a hundred runs
_LOSS_MARGIN = 0.98


@torch.no_grad()
def correct(model: nn.Module, data: ImageSet, by: Normalization, device: torch.device,
            rank: int = 0, world: int = 1) -> torch.Tensor:
    """Hits in this process's share of the set.

    Returns:
        (C + 1,) float64: for each class how many of its images have it first, and at the end how many images
        of the set have theirs among the first five.
    """
    model.eval()
    hits = torch.zeros(len(data.labels) + 1, dtype=torch.float64)
    mine = np.arange(rank, len(data.targets), world)
    for start in range(0, len(mine), _BATCH):
        chosen = mine[start:start + _BATCH]
        x = normalize(torch.from_numpy(data.images[chosen]).to(device), by)
        logits = model(x.contiguous(memory_format=torch.channels_last)).cpu()
        target = torch.from_numpy(data.targets[chosen]).long()
        best = logits.topk(min(5, logits.shape[1]), 1).indices == target[:, None]
        hits[:-1] += torch.bincount(target[best[:, 0]], minlength=len(data.labels))
        hits[-1] += best.any(1).sum()
    return hits


def scores(hits: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """What the log says of hits in a whole set.

    Args:
        hits: (C + 1,) as `correct` counts them.
        targets: (N,) the set's classes.

    Returns:
        Shares of 1: val_top1, val_top5, val_recall (of the classes, averaged) and val_guess, the recall that
        guessing reaches with luck; 1 and more where the set is too small to tell.
    """
    count = np.bincount(targets, minlength=len(hits) - 1)
    there = count > 0
    p = 1 / int(there.sum())
    deviation = p * math.sqrt(p * (1 - p) * float((1 / count[there]).sum()))
    found = {'val_top1': hits[:-1].sum() / len(targets), 'val_top5': hits[-1] / len(targets),
             'val_recall': (hits[:-1][there] / count[there]).mean(), 'val_guess': p + _SIGMAS * deviation}
    return {name: round(float(value), 4) for name, value in found.items()}


def learned_nothing(history: Sequence[Mapping[str, Any]], classes: int) -> str:
    """Why a run is no better than guessing, by its log; '' where it is better.

    A network that guesses, or always gives the same answer, has a recall of 1 / classes. Where there are too
    few validation images to tell, the training loss must be below that of guessing, ln(classes).

    Args:
        history: the log's lines; those of older runs have no recall.
    """
    if not history:
        return 'no epoch has ended yet'
    last = history[-1]
    recall, guess = last.get('val_recall', last['val_top1']), last.get('val_guess', 1 / classes)
    if guess < 1:
        return '' if recall > guess else (
            f'its recall on the validation images is {recall:.1%}, and guessing gets up to {guess:.1%}')
    return '' if last['loss'] < _LOSS_MARGIN * math.log(classes) else (
        f'its training loss is {last["loss"]:.3f}, and that of guessing is {math.log(classes):.3f}')
