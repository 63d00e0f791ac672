# SPDX-License-Identifier: Apache-2.0
"""Predictions drawn on images of any size, and images fitted into a frame."""

from typing import Any

import numpy as np
import pytest

from shufflenet_ros.core.drawing import MAX_WIDTH, annotate, draw_predictions, letterbox
from shufflenet_ros.core.frame import DecodedImage, Prediction

PREDICTIONS = tuple(Prediction(f'name {i}', i, 1 / (i + 2)) for i in range(8))


def image(height: int, width: int, color: Any = 'rgb') -> DecodedImage:
    rng = np.random.default_rng(0)
    return DecodedImage(rng.integers(0, 256, (height, width, 3), np.uint8), color)


@pytest.mark.parametrize('color', ['rgb', 'bgr'])
def test_predictions_are_drawn_on_a_copy(color: str) -> None:
    shown = image(240, 320, color)
    before = shown.pixels.copy()
    drawn = annotate(shown, PREDICTIONS)
    bgr = before if color == 'bgr' else before[..., ::-1]
    assert (shown.pixels == before).all()
    assert drawn.shape == (240, 320, 3) and drawn.dtype == np.uint8
    changed = (drawn != bgr).any(axis=2)
    assert changed[:80, :200].mean() > 0.05 and not changed[100:].any(), 'five lines in the upper left'
    assert (annotate(shown, ()) == bgr).all()


@pytest.mark.parametrize('size', [(1, 1), (1, 5000), (5000, 1), (2160, 3840), (7, 1281)])
def test_any_size_is_drawn_and_none_is_wider_than_the_limit(size: tuple[int, int]) -> None:
    drawn = annotate(image(*size), PREDICTIONS)
    height, width = drawn.shape[:2]
    assert height >= 1 and width == min(size[1], MAX_WIDTH)
    assert height == (size[0] if size[1] <= MAX_WIDTH else max(1, size[0] * MAX_WIDTH // size[1]))


def test_a_title_and_bars_as_long_as_the_scores() -> None:
    canvas = np.full((480, 640, 3), 200, np.uint8)
    draw_predictions(canvas, [Prediction('half', 0, 0.5)], 'title')
    bar = (canvas == (80, 220, 80)).all(axis=2)
    rows, columns = np.nonzero(bar)
    assert (rows.min(), columns.min()) == (54, 8) and abs(columns.max() - 320) <= 1
    assert (canvas[:26].min(axis=2) > 180).sum() > 20, 'the title'
    assert (canvas[62:] == 200).all()


@pytest.mark.parametrize(('size', 'rows', 'columns'), [
    ((20, 40), (5, 15), (0, 20)), ((40, 20), (0, 20), (5, 15)),
])
def test_a_letterbox_shows_the_whole_image_centered(size: tuple[int, int], rows: tuple[int, int],
                                                    columns: tuple[int, int]) -> None:
    canvas = letterbox(DecodedImage(np.full((*size, 3), (1, 2, 250), np.uint8), 'rgb'), (20, 20))
    shown = np.zeros((20, 20), bool)
    shown[slice(*rows), slice(*columns)] = True
    assert (canvas[shown] == (250, 2, 1)).all() and not canvas[~shown].any()
