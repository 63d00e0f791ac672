# SPDX-License-Identifier: Apache-2.0
"""Figures of a classifier: accuracy, calibration, retrieval, and a paired test of two classifiers.

All work on the arrays of `score.Scores`. Classes are indices; shares are fractions of 1.
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np
import numpy.typing as npt

from shufflenet_ros.core.frame import F32

I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

_Z95 = 1.959963984540054  # of the standard normal distribution, two-sided
_TIE_TOLERANCE = 1e-6  # rounding of a float32 cosine
_CHUNK_VALUES = 1 << 22  # similarities at a time: about 150 MB with their sorting


def hits(targets: I64, ranked: I64, k: int) -> Mask:
    """(N,) whether the true class is among the first k predictions.

    Args:
        targets: (N,) true classes.
        ranked: (N, K) predicted classes, the best first; K may be smaller than k.
    """
    return np.asarray((ranked[:, :k] == targets[:, None]).any(axis=1))


def confusion_matrix(targets: I64, predicted: I64, classes: int) -> I64:
    """(classes, classes) number of images of class row that were predicted as class column."""
    pairs = np.bincount(targets * classes + predicted, minlength=classes * classes)
    return np.asarray(pairs.reshape(classes, classes), np.int64)


def calibration_error(confidence: F32, correct: Mask, bins: int = 15) -> float:
    """Expected calibration error: how far the probability of the first prediction is from its accuracy.

    The mean of |accuracy - confidence| over equal-width bins of (0, 1], weighted by their images.
    Guo et al., On Calibration of Modern Neural Networks, ICML 2017, equation 3.

    Args:
        confidence: (N,) probability of the predicted class, in (0, 1].
        correct: (N,) whether it is the true class.
    """
    exact = confidence.astype(np.float64)
    numbers = np.clip(np.ceil(exact * bins).astype(np.int64) - 1, 0, bins - 1)
    gaps = np.bincount(numbers, weights=correct - exact, minlength=bins)
    return float(np.abs(gaps).sum() / len(exact))


def retrieval_map(embeddings: F32, targets: I64) -> float | None:
    """Mean average precision of finding images of the same class by cosine similarity.

    Each image queries all others; images of its class are relevant. The mean is over the queries that have
    relevant images. Neighbors in a ranking that differ by at most 1e-6 share a rank, and the precision at a
    rank counts all its images. So identical embeddings score the share of relevant images in any order.

    Args:
        embeddings: (N, D), normalized here; zeros are similar to nothing.
        targets: (N,) classes.

    Returns:
        In [0, 1], or None if no class has two images.
    """
    norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
    unit = np.divide(embeddings, norms, out=np.zeros_like(embeddings), where=norms > 0)
    relevant = np.bincount(targets)[targets] - 1
    total, rows = 0.0, max(1, _CHUNK_VALUES // max(1, len(unit)))
    for start in range(0, len(unit), rows):
        block = np.arange(start, min(start + rows, len(unit)))
        similar = unit[block] @ unit.T
        same = targets[block][:, None] == targets
        similar[block - start, block], same[block - start, block] = -np.inf, False
        total += float(_average_precisions(similar, same, relevant[block]).sum())
    queries = int((relevant > 0).sum())
    return total / queries if queries else None


def _average_precisions(similar: F32, same: Mask, relevant: I64) -> F64:
    """(B,) average precision of each row's ranking, 0 if nothing is relevant."""
    order = np.argsort(-similar, axis=1)
    similar, same = np.take_along_axis(similar, order, 1), np.take_along_axis(same, order, 1)
    count = similar.shape[1]
    # For each position the end of its run of equal similarities.
    ends = np.full(similar.shape, count - 1)
    changes = similar[:, :-1] - similar[:, 1:] > _TIE_TOLERANCE
    ends[:, :-1] = np.where(changes, np.arange(count - 1), count - 1)
    ends = np.minimum.accumulate(ends[:, ::-1], axis=1)[:, ::-1]
    precision = np.take_along_axis(same.cumsum(axis=1), ends, 1) / (ends + 1)
    return np.asarray((precision * same).sum(axis=1) / np.maximum(relevant, 1))


@dataclass(frozen=True)
class PairedComparison:
    """Two classifiers on the same images.

    Attributes:
        both, only_a, only_b, neither: images by which classifier is correct.
        difference: accuracy of A minus that of B.
        low, high: its 95 % interval, Wald's with half an image added to each of the four counts
            (Agresti and Min, Simple improved confidence intervals for comparing matched proportions,
            Statistics in Medicine 24, 2005).
        p_value: of McNemar's exact test.
    """

    both: int
    only_a: int
    only_b: int
    neither: int
    difference: float
    low: float
    high: float
    p_value: float


def mcnemar_exact(only_a: int, only_b: int) -> float:
    """McNemar's exact test: the chance of a split at least this uneven between two equal classifiers.

    The two-sided binomial distribution in exact integers (McNemar, Psychometrika 12, 1947).

    Args:
        only_a, only_b: images that only one of the two classifies correctly.
    """
    flips = only_a + only_b
    ways = term = 1
    for i in range(min(only_a, only_b)):
        term = term * (flips - i) // (i + 1)
        ways += term
    return min(1.0, 2 * ways / (1 << flips))


def compare_paired(correct_a: Mask, correct_b: Mask) -> PairedComparison:
    """Compare two classifiers by which of the same N > 0 images each classifies correctly, (N,) each."""
    both, neither = int((correct_a & correct_b).sum()), int((~correct_a & ~correct_b).sum())
    only_a, only_b = int((correct_a & ~correct_b).sum()), int((~correct_a & correct_b).sum())
    images = len(correct_a)
    padded, gap = images + 2, only_a - only_b
    center = gap / padded
    half = _Z95 * sqrt(only_a + only_b + 1 - gap * gap / padded) / padded
    return PairedComparison(both, only_a, only_b, neither, gap / images, max(-1.0, center - half),
                            min(1.0, center + half), mcnemar_exact(only_a, only_b))
