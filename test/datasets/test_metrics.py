# SPDX-License-Identifier: Apache-2.0
"""Figures compared with values worked out by hand, and with slow, simple loops."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shufflenet_ros.datasets import metrics
from shufflenet_ros.datasets.metrics import (
    calibration_error,
    compare_paired,
    confusion_matrix,
    hits,
    mcnemar_exact,
    retrieval_map,
)


def test_hits_counts_the_true_class_among_the_first_k() -> None:
    ranked = np.array([[2, 0, 1], [1, 2, 0], [0, 1, 2], [0, 2, 1]])
    targets = np.array([2, 2, 2, 2])
    shares = [hits(targets, ranked, k).mean() for k in (1, 2, 3, 5)]
    assert shares == [0.25, 0.75, 1.0, 1.0]


def test_confusion_matrix_by_hand() -> None:
    matrix = confusion_matrix(np.array([0, 0, 0, 2, 2]), np.array([0, 2, 0, 1, 2]), 4)
    assert matrix.tolist() == [[2, 0, 1, 0], [0, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]]


def test_calibration_error_by_hand() -> None:
    # Two images in the bin (8/15, 9/15], half of them correct at 0.55; one wrong at 1.0; one correct at 0.1.
    confidence = np.array([0.55, 0.55, 1.0, 0.1], np.float32)
    correct = np.array([True, False, False, True])
    assert calibration_error(confidence, correct) == pytest.approx((2 * 0.05 + 1.0 + 0.9) / 4, abs=1e-7)
    assert calibration_error(np.ones(5, np.float32), np.ones(5, bool)) == 0
    # In the same bin errors cancel, in different bins they do not.
    confidence, correct = np.array([0.9, 0.1], np.float32), np.array([False, True])
    assert calibration_error(confidence, correct, bins=1) == pytest.approx(0, abs=1e-6)
    assert calibration_error(confidence, correct) == pytest.approx(0.9)


@given(st.integers(1, 200), st.integers(0, 2**32 - 1))
def test_calibration_error_equals_the_papers_loop(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    confidence = rng.random(count).astype(np.float32) * 0.999 + np.float32(1e-3)
    correct = rng.random(count) < 0.6
    expected = 0.0
    for low, high in zip(np.arange(15) / 15, np.arange(1, 16) / 15):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            gap = correct[inside].mean() - confidence[inside].astype(float).mean()
            expected += inside.mean() * abs(gap)
    assert calibration_error(confidence, correct) == pytest.approx(expected, abs=1e-9)


def slow_map(embeddings: np.ndarray, targets: np.ndarray) -> float | None:
    """By the definition of a ranking with ties: precision and recall at every distinct similarity."""
    exact = embeddings.astype(np.float64)
    unit = exact / np.maximum(np.linalg.norm(exact, axis=1, keepdims=True), 1e-30)
    averages = []
    for query in range(len(targets)):
        others = [i for i in range(len(targets)) if i != query]
        similar = {i: round(float(unit[query] @ unit[i]), 9) for i in others}
        relevant = [i for i in others if targets[i] == targets[query]]
        if not relevant:
            continue
        average = recall = 0.0
        for threshold in sorted(set(similar.values()), reverse=True):
            found = [i for i in others if similar[i] >= threshold]
            hits_found = sum(targets[i] == targets[query] for i in found)
            average += (hits_found / len(relevant) - recall) * hits_found / len(found)
            recall = hits_found / len(relevant)
        averages.append(average)
    return sum(averages) / len(averages) if averages else None


def test_retrieval_map_by_hand() -> None:
    # Angles 0, 10, 50 and 60 degrees; classes a, b, a, b. For the first the order is b a b, so 1/2.
    angles = np.radians([0, 10, 50, 60])
    points = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    targets = np.array([0, 1, 0, 1])
    # 0: b(10) a(50) -> 1/2; 10: a(0) a(50) b(60) -> 1/3; 50: b(60) b(10) a(0) -> 1/3; 60: a(50) b(10) -> 1/2
    assert retrieval_map(points, targets) == pytest.approx((1 / 2 + 1 / 3 + 1 / 3 + 1 / 2) / 4)
    longer = points * np.array([[3], [1], [7], [0.1]], np.float32)
    assert retrieval_map(longer, targets) == pytest.approx(5 / 12)
    assert retrieval_map(points, np.array([0, 0, 1, 1])) == pytest.approx(1.0)
    assert retrieval_map(points, np.array([0, 1, 2, 3])) is None


def test_identical_embeddings_score_chance_whatever_their_order() -> None:
    targets = np.repeat([0, 1], [30, 10])
    same = np.ones((40, 8), np.float32)
    expected = (30 * 29 / 39 + 10 * 9 / 39) / 40
    assert retrieval_map(same, targets) == pytest.approx(expected)
    assert retrieval_map(same * 0, np.random.default_rng(0).permutation(targets)) == pytest.approx(expected)


@given(st.integers(2, 30), st.integers(1, 5), st.integers(0, 2**32 - 1), st.integers(1, 9))
def test_retrieval_map_equals_the_loop_in_chunks_of_any_size(
        count: int, classes: int, seed: int, rows: int) -> None:
    rng = np.random.default_rng(seed)
    embeddings = rng.integers(-2, 3, (count, 3)).astype(np.float32)  # small integers make ties
    targets = rng.integers(0, classes, count)
    before, metrics._CHUNK_VALUES = metrics._CHUNK_VALUES, rows * count
    try:
        assert retrieval_map(embeddings, targets) == pytest.approx(slow_map(embeddings, targets), abs=1e-6)
    finally:
        metrics._CHUNK_VALUES = before


def test_mcnemar_equals_published_and_enumerated_values() -> None:
    # 2 against 8: 2 * (1 + 10 + 45) / 1024, the usual sign-test table's 0.109.
    assert mcnemar_exact(2, 8) == pytest.approx(0.109375)
    assert mcnemar_exact(0, 0) == mcnemar_exact(5, 5) == 1.0
    assert mcnemar_exact(0, 6) == pytest.approx(2 / 64)
    for a, b in product(range(5), range(5)):
        flips = a + b
        splits = [sum(coins) for coins in product((0, 1), repeat=flips)]
        extreme = sum(abs(2 * split - flips) >= abs(a - b) for split in splits)
        assert mcnemar_exact(a, b) == mcnemar_exact(b, a) == pytest.approx(extreme / len(splits))


def test_mcnemar_of_thousands_stays_exact() -> None:
    p = mcnemar_exact(4_800, 5_200)
    # The normal approximation with continuity correction: z = (400 - 1) / 100.
    assert p == pytest.approx(math.erfc(3.99 / math.sqrt(2)), rel=0.01)
    assert 0 < mcnemar_exact(0, 1_000) < 1e-300


def test_compare_paired_by_hand() -> None:
    correct_a = np.array([True] * 50 + [False] * 50)
    correct_b = np.array([True] * 40 + [False] * 10 + [True] * 2 + [False] * 48)
    paired = compare_paired(correct_a, correct_b)
    assert (paired.both, paired.only_a, paired.only_b, paired.neither) == (40, 10, 2, 48)
    assert paired.difference == pytest.approx(0.08) and paired.p_value == mcnemar_exact(10, 2)
    # Agresti and Min: 10.5 and 2.5 of 102.
    error = math.sqrt(13 - 8 * 8 / 102) / 102
    assert paired.low == pytest.approx(8 / 102 - 1.96 * error, abs=1e-5)
    assert paired.high == pytest.approx(8 / 102 + 1.96 * error, abs=1e-5)
    swapped = compare_paired(correct_b, correct_a)
    assert (swapped.low, swapped.high) == pytest.approx((-paired.high, -paired.low))


def test_the_paired_interval_covers_what_it_says() -> None:
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(1000):
        cell = rng.choice(4, 60, p=[0.5, 0.2, 0.1, 0.2])  # both, only A, only B, neither
        paired = compare_paired(cell <= 1, (cell == 0) | (cell == 2))
        covered += paired.low <= 0.1 <= paired.high
    print(f'covered {covered} of 1000')
    assert 930 <= covered <= 975
