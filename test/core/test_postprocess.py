# SPDX-License-Identifier: Apache-2.0
"""Logits to predictions, embeddings to unit length."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from shufflenet_ros.core.postprocess import softmax, top_predictions, unit_length
from shufflenet_ros.core.reasons import DropReason, FrameError

finite = st.floats(-(2.0**127), 2.0**127, width=32)
logit_vectors = arrays(np.float32, st.integers(1, 50), elements=finite)


@given(logit_vectors)
def test_softmax_is_a_distribution_in_the_logits_order(logits: np.ndarray) -> None:
    scores = softmax(logits)
    assert scores.shape == logits.shape and scores.dtype == np.float32
    assert np.isfinite(scores).all() and abs(scores.sum() - 1) < 1e-5
    order = np.argsort(logits)
    assert (np.diff(scores[order]) >= 0).all()


def test_softmax_values() -> None:
    expected = np.exp([1.0, 2.0, 3.0]) / np.exp([1.0, 2.0, 3.0]).sum()
    assert np.allclose(softmax(np.array([1, 2, 3], np.float32)), expected, atol=1e-7)
    assert np.allclose(softmax(np.array([1001, 1002, 1003], np.float32)), expected, atol=1e-7)


@pytest.mark.parametrize('bad', [np.nan, np.inf, -np.inf])
def test_a_logit_that_is_not_finite_is_dropped(bad: float) -> None:
    with pytest.raises(FrameError) as caught:
        top_predictions(np.array([0, bad, 1], np.float32), ('a', 'b', 'c'), 5, 0.0)
    assert caught.value.reason is DropReason.NON_FINITE


@given(logit_vectors, st.integers(1, 60), st.floats(0, 1))
def test_predictions_are_sorted_and_limited(logits: np.ndarray, top_k: int, min_score: float) -> None:
    names = tuple(f'class {i}' for i in range(len(logits)))
    predictions = top_predictions(logits, names, top_k, min_score)
    scores = softmax(logits)
    assert len(predictions) == min(top_k, sum(float(score) >= min_score for score in scores))
    assert [p.name for p in predictions] == [names[p.index] for p in predictions]
    assert [p.score for p in predictions] == [float(scores[p.index]) for p in predictions]
    assert all((-a.score, a.index) < (-b.score, b.index) for a, b in pairwise(predictions))
    if predictions:
        assert predictions[0].score == scores.max()


def test_ties_are_ordered_by_index() -> None:
    predictions = top_predictions(np.zeros(200, np.float32), tuple(map(str, range(200))), 5, 0.0)
    assert [p.index for p in predictions] == [0, 1, 2, 3, 4]


def test_min_score_may_leave_no_prediction() -> None:
    assert top_predictions(np.zeros(4, np.float32), ('a', 'b', 'c', 'd'), 5, 0.26) == ()
    assert len(top_predictions(np.zeros(4, np.float32), ('a', 'b', 'c', 'd'), 5, 0.25)) == 4


@given(arrays(np.float32, st.integers(1, 64), elements=st.floats(-1000, 1000, width=32)))
def test_unit_length(embedding: np.ndarray) -> None:
    unit = unit_length(embedding)
    assert unit.dtype == np.float32
    if np.linalg.norm(embedding) > 1e-6:
        assert abs(np.linalg.norm(unit) - 1) < 1e-5
        assert np.allclose(unit * np.linalg.norm(embedding), embedding, rtol=1e-4, atol=1e-4)
    else:
        assert np.isfinite(unit).all()


def test_zeros_stay_zeros() -> None:
    assert not unit_length(np.zeros(8, np.float32)).any()
