# SPDX-License-Identifier: Apache-2.0
"""Logits to predictions, embeddings to unit length."""

import numpy as np

from shufflenet_ros.core.frame import F32, Prediction
from shufflenet_ros.core.reasons import DropReason, FrameError


def softmax(logits: F32) -> F32:
    """(C,) logits to (C,) probabilities.

    Raises:
        FrameError: NON_FINITE if a logit is not finite.
    """
    if not np.isfinite(logits).all():
        raise FrameError(DropReason.NON_FINITE, 'a logit of the model is not finite; '
                         'check the model with `shufflenet-ros models check`')
    exps = np.exp(logits.astype(np.float64) - logits.max())
    return np.asarray(exps / exps.sum(), np.float32)


def top_predictions(logits: F32, labels: tuple[str, ...], top_k: int,
                    min_score: float) -> tuple[Prediction, ...]:
    """The best top_k classes with a probability of at least min_score: best first, ties by index."""
    scores = softmax(logits)
    best = [(int(i), float(scores[i])) for i in np.argsort(-scores, kind='stable')[:top_k]]
    return tuple(Prediction(labels[i], i, score) for i, score in best if score >= min_score)


def unit_length(embedding: F32) -> F32:
    """(D,) scaled to Euclidean length 1; zeros stay zeros."""
    norm = float(np.linalg.norm(embedding))
    return np.asarray(embedding / norm, np.float32) if norm > 0 else embedding
