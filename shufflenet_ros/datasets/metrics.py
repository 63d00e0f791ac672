"""How good a classifier is: accuracy, calibration, retrieval, and whether one beats another by chance.

All of it takes arrays that scoring a set gives; classes are indices. Shares are of 1.
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
_EQUAL = 1e-6  # rounding of a float32 cosine
_CHUNK_VALUES = 1 << 22  # of a block of similarities: about 150 MB with its sorting


def hits(targets: I64, ranked: I64, k: int) -> Mask:
    """(N,) whether the right class is among the best k.

    Args:
        targets: (N,) right classes.
        ranked: (N, K) answers, the best first; K may be smaller than k.
    """
    return np.asarray((ranked[:, :k] == targets[:, None]).any(axis=1))


def confusion_matrix(targets: I64, predicted: I64, classes: int) -> I64:
    """(classes, classes) images of class row that were called class column."""
    pairs = np.bincount(targets * classes + predicted, minlength=classes * classes)
    return np.asarray(pairs.reshape(classes, classes), np.int64)


def per_class_accuracy(confusion: I64) -> F64:
    """(C,) share of each row's images on the diagonal, NaN for a class without images."""
    images = confusion.sum(axis=1)
    share = np.full(len(images), np.nan)
    np.divide(np.diagonal(confusion), images, out=share, where=images > 0)
    return share


def calibration_error(confidence: F32, right: Mask, bins: int = 15) -> float:
    """Expected calibration error: how far the probability of the best class is from its accuracy.

    Equal-width bins over (0, 1]; the mean of |accuracy - confidence| of each, weighted by its images.
    Guo et al., On Calibration of Modern Neural Networks, ICML 2017, equation 3.

    Args:
        confidence: (N,) probability of the class that was called, in (0, 1].
        right: (N,) whether it was the right one.
    """
    exact = confidence.astype(np.float64)
    numbers = np.clip(np.ceil(exact * bins).astype(np.int64) - 1, 0, bins - 1)
    gaps = np.bincount(numbers, weights=right - exact, minlength=bins)
    return float(np.abs(gaps).sum() / len(exact))


def retrieval_map(embeddings: F32, targets: I64) -> float | None:
    """Mean average precision of finding images of the same class by cosine similarity.

    Each image queries all others; those of its class are relevant; the mean is over the queries that have
    any. Neighbors in a ranking that differ by no more than 1e-6 share a rank, and the precision of a rank
    counts all of it: so identical embeddings score the share of relevant images, whatever their order.

    Args:
        embeddings: (N, D) of any length; zeros are similar to nothing.
        targets: (N,) classes.

    Returns:
        In [0, 1], or None where no image has another of its class.
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
    """(B,) average precision of each row's ranking, 0 where nothing is relevant."""
    order = np.argsort(-similar, axis=1)
    similar, same = np.take_along_axis(similar, order, 1), np.take_along_axis(same, order, 1)
    count = similar.shape[1]
    # Where the run of equal similarities ends that a place is in.
    ends = np.full(similar.shape, count - 1)
    changes = similar[:, :-1] - similar[:, 1:] > _EQUAL
    ends[:, :-1] = np.where(changes, np.arange(count - 1), count - 1)
    ends = np.minimum.accumulate(ends[:, ::-1], axis=1)[:, ::-1]
    precision = np.take_along_axis(same.cumsum(axis=1), ends, 1) / (ends + 1)
    return np.asarray((precision * same).sum(axis=1) / np.maximum(relevant, 1))


@dataclass(frozen=True)
class PairedComparison:
    """Two classifiers on the same images.

    Attributes:
        both, only_a, only_b, neither: images by who is right.
        difference: accuracy of A less that of B.
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
    """The chance of a split at least as uneven where each of the images falls to A or B like a coin.

    McNemar's test (Psychometrika 12, 1947) with the two-sided binomial distribution in exact integers.

    Args:
        only_a, only_b: images that only one of the two has right.
    """
    flips = only_a + only_b
    ways = term = 1
    for i in range(min(only_a, only_b)):
        term = term * (flips - i) // (i + 1)
        ways += term
    return min(1.0, 2 * ways / (1 << flips))


def compare_paired(right_a: Mask, right_b: Mask) -> PairedComparison:
    """Compare two classifiers by which of the same N images each has right, (N,) each, N > 0."""
    both, neither = int((right_a & right_b).sum()), int((~right_a & ~right_b).sum())
    only_a, only_b = int((right_a & ~right_b).sum()), int((~right_a & right_b).sum())
    images = len(right_a)
    padded, gap = images + 2, only_a - only_b
    center = gap / padded
    half = _Z95 * sqrt(only_a + only_b + 1 - gap * gap / padded) / padded
    return PairedComparison(both, only_a, only_b, neither, gap / images, max(-1.0, center - half),
                  min(1.0, center + half), mcnemar_exact(only_a, only_b))
