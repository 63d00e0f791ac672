# SPDX-License-Identifier: Apache-2.0
"""A linear classifier on the features of another network."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

# From strong to weak. Each fit starts from the previous result, so all take little longer than one.
DECAYS = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4)
HELD_OUT = 10  # one in ten
_MIN_STD = 1e-3  # a feature that hardly changes in training must not be amplified in validation
_MAX_STEPS = 20


@dataclass(frozen=True)
class Head:
    """Logits are (features - mean) / std @ weight.T + bias.

    Attributes:
        mean, std: (D,) float32, of the training features.
        weight, bias: (C, D) and (C,) float32.
        decay: the weight decay that was chosen.
    """

    mean: np.ndarray
    std: np.ndarray
    weight: np.ndarray
    bias: np.ndarray
    decay: float

    def logits(self, features: np.ndarray) -> np.ndarray:
        """(N, D) features of any float type -> (N, C) float32."""
        x: np.ndarray = (np.asarray(features, np.float32) - self.mean) / self.std
        logits: np.ndarray = x @ self.weight.T + self.bias
        return logits


def fit_head(features: np.ndarray, targets: np.ndarray) -> Head:
    """Logistic regression with weight decay on standardized features.

    The decay is the one with the least cross entropy on the last tenth of each class, in the order given
    (neighboring frames of a video are nearly the same image). The head is then fitted on everything. Nothing
    is random.

    Args:
        features: (N, D), float16 or float32.
        targets: (N,) int64. Each class has at least one row.

    Raises:
        ModuleNotFoundError: scikit-learn is missing.
    """
    from sklearn.linear_model import LogisticRegression  # here: only recipes with a teacher need it

    model = LogisticRegression(max_iter=_MAX_STEPS, warm_start=True)
    held_out = _held_out(targets)
    decay, least = DECAYS[0], np.inf
    for candidate in DECAYS if held_out.any() else ():
        head = _fit(model, features[~held_out], targets[~held_out], candidate)
        logits, expected = head.logits(features[held_out]), targets[held_out]
        loss = (np.logaddexp.reduce(logits, 1) - logits[np.arange(len(logits)), expected]).mean()
        if loss >= least:
            break
        decay, least = candidate, loss
    return _fit(model, features, targets, decay)


def top1(logits: np.ndarray, targets: np.ndarray) -> float:
    """Share of the rows whose largest logit is the target's."""
    return float((logits.argmax(1) == targets).mean())


def _held_out(targets: np.ndarray) -> np.ndarray:
    held_out = np.zeros(len(targets), bool)
    for target in np.unique(targets):
        rows = np.flatnonzero(targets == target)
        if len(rows) > 1:
            held_out[rows[-max(1, len(rows) // HELD_OUT):]] = True
    return held_out


def _fit(model: Any, features: np.ndarray, targets: np.ndarray, decay: float) -> Head:
    """Minimize the mean cross entropy + decay / 2 * |weight|^2, starting from the model's last fit."""
    x = np.asarray(features, np.float32)
    mean = x.mean(0, dtype=np.float64).astype(np.float32)
    x = x - mean
    std = np.maximum(np.sqrt(np.square(x).mean(0, dtype=np.float64)), _MIN_STD).astype(np.float32)
    x /= std
    binary = targets.max() == 1
    # For two classes scikit-learn fits the difference of the two rows, which doubles the penalty.
    model.set_params(C=(2 if binary else 1) / (decay * len(x)))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # not converged: close to the minimum is enough
        model.fit(x, targets)
    weight, bias = model.coef_, model.intercept_
    if binary:
        weight, bias = np.concatenate((-weight, weight)) / 2, np.concatenate((-bias, bias)) / 2
    return Head(mean, std, weight.astype(np.float32), bias.astype(np.float32), decay)
