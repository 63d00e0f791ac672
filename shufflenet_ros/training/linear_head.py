"""A linear classifier on features that somebody else's network computed."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

# From strong to weak: each fit starts where the one before it ended, so the walk costs little more than one.
DECAYS = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4)
HELD = 10  # one in ten
_STEPS = 20
_ENOUGH = 1e-4  # a step that lowers the loss by less is the last one
_CHUNK = 8192


@dataclass(frozen=True)
class Head:
    """Logits are (features - mean) / std @ weight.T + bias.

    Attributes:
        mean, std: (D,) float32, of the training features.
        weight, bias: (C, D) and (C,) float32.
        decay: the weight decay that was chosen.
    """

    mean: Tensor
    std: Tensor
    weight: Tensor
    bias: Tensor
    decay: float

    @torch.no_grad()
    def logits(self, features: np.ndarray) -> np.ndarray:
        """(N, D) features of any float type -> (N, C) float32."""
        parts = [x @ self.weight.T + self.bias for x, _ in _chunks(features, None, self.mean, self.std)]
        return torch.cat(parts).numpy()


def fit_head(features: np.ndarray, targets: np.ndarray, classes: int) -> Head:
    """Multinomial logistic regression with weight decay, on standardized features, by L-BFGS from zero.

    The decay is the one with the least cross entropy on the last tenth of each class, in the order given
    (neighboring frames of a video are nearly the same image); the head is then fitted on everything.
    Nothing is drawn by chance, so the same features on as many threads give the same head.

    Args:
        features: (N, D), float16 or float32.
        targets: (N,) int64, below classes.
    """
    held = _held(targets, classes)
    decay, start = DECAYS[0], None
    if held.any():
        decay, start = _choose(features[~held], targets[~held], features[held], targets[held], classes)
    mean, std = _moments(features)
    fit = _Fit(features, targets, mean, std, classes, start)
    fit.run(decay)
    return Head(mean, std, *fit.values(), decay)


def top1(logits: np.ndarray, targets: np.ndarray) -> float:
    """Share of the rows whose largest logit is the target's."""
    return float((logits.argmax(1) == targets).mean())


def _held(targets: np.ndarray, classes: int) -> np.ndarray:
    held = np.zeros(len(targets), bool)
    for target in range(classes):
        places = np.flatnonzero(targets == target)
        if len(places) > 1:
            held[places[-max(1, len(places) // HELD):]] = True
    return held


def _choose(features: np.ndarray, targets: np.ndarray, held_features: np.ndarray, held_targets: np.ndarray,
            classes: int) -> tuple[float, tuple[Tensor, Tensor]]:
    """The best decay, and the weights that it gave."""
    mean, std = _moments(features)
    fit = _Fit(features, targets, mean, std, classes)
    best = (float('inf'), DECAYS[0], fit.values())
    for decay in DECAYS:
        fit.run(decay)
        logits = Head(mean, std, *fit.values(), decay).logits(held_features)
        loss = F.cross_entropy(torch.from_numpy(logits), torch.from_numpy(held_targets)).item()
        if loss >= best[0]:
            break
        best = (loss, decay, fit.values())
    return best[1], best[2]


class _Fit:
    """The weights on their way, and the loss that they go down."""

    def __init__(self, features: np.ndarray, targets: np.ndarray, mean: Tensor, std: Tensor, classes: int,
                 start: tuple[Tensor, Tensor] | None = None):
        self.data = features, targets, mean, std
        self.weight, self.bias = start or (torch.zeros(classes, features.shape[1]), torch.zeros(classes))
        self.weight.requires_grad_(True)
        self.bias.requires_grad_(True)

    def run(self, decay: float) -> None:
        optimizer = torch.optim.LBFGS([self.weight, self.bias], max_iter=_STEPS, tolerance_change=_ENOUGH,
                                      history_size=10, line_search_fn='strong_wolfe')

        def loss() -> Tensor:
            optimizer.zero_grad()
            total = decay / 2 * self.weight.square().sum()
            total.backward()
            for x, y in _chunks(*self.data):  # a chunk at a time: float16 features may fill the memory
                part = F.cross_entropy(x @ self.weight.T + self.bias, y, reduction='sum') / len(self.data[1])
                part.backward()
                total = total.detach() + part.detach()
            return total

        optimizer.step(loss)

    def values(self) -> tuple[Tensor, Tensor]:
        return self.weight.detach().clone(), self.bias.detach().clone()


def _moments(features: np.ndarray) -> tuple[Tensor, Tensor]:
    mean = np.mean(features, 0, dtype=np.float64)
    square = np.zeros_like(mean)
    for at in range(0, len(features), _CHUNK):
        square += np.square(features[at:at + _CHUNK] - mean).sum(0)
    # A feature that hardly moves in training must not be blown up in validation.
    std = np.maximum(np.sqrt(square / len(features)), 1e-3)
    return torch.from_numpy(mean).float(), torch.from_numpy(std).float()


def _chunks(features: np.ndarray, targets: np.ndarray | None, mean: Tensor, std: Tensor
            ) -> Iterator[tuple[Tensor, Tensor]]:
    for at in range(0, len(features), _CHUNK):
        x = torch.from_numpy(np.asarray(features[at:at + _CHUNK], np.float32))
        y = torch.empty(0) if targets is None else torch.from_numpy(targets[at:at + _CHUNK])
        yield (x - mean) / std, y
