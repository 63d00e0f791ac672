# SPDX-License-Identifier: Apache-2.0
"""Draw predictions on images: debug images, annotated videos and the demo."""

from collections.abc import Sequence

import numpy as np

from shufflenet_ros.core.frame import U8, DecodedImage, Prediction
from shufflenet_ros.core.opencv import cv2, resize, swap_red_and_blue
from shufflenet_ros.core.text import printable

MAX_WIDTH, MAX_LINES = 1280, 5  # of `annotate`
_WHITE, _GREEN, _SHADE = (255, 255, 255), (80, 220, 80), 0.35
_REFERENCE = (480, 640)  # height, width at which the sizes below are in pixels
_MARGIN, _LINE, _FONT_SCALE = 8, 26, 0.6


def annotate(image: DecodedImage, predictions: Sequence[Prediction]) -> U8:
    """(H, W, 3) uint8 BGR copy, at most 1280 wide, with the best five predictions drawn at the top."""
    pixels = image.pixels
    height, width = pixels.shape[:2]
    if width > MAX_WIDTH:
        pixels = resize(pixels, (max(1, height * MAX_WIDTH // width), MAX_WIDTH), cv2.INTER_AREA)
    pixels = swap_red_and_blue(pixels) if image.color == 'rgb' else pixels.copy()
    draw_predictions(pixels, predictions[:MAX_LINES])
    return pixels


def letterbox(image: DecodedImage, size: tuple[int, int]) -> U8:
    """The whole image, centered on black: (H, W, 3) uint8 BGR.

    Args:
        size: (height, width) in pixels.
    """
    pixels = image.pixels if image.color == 'bgr' else image.pixels[:, :, ::-1]
    fit = min(size[0] / pixels.shape[0], size[1] / pixels.shape[1])
    height, width = (max(1, round(side * fit)) for side in pixels.shape[:2])
    canvas = np.zeros((*size, 3), np.uint8)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    canvas[top:top + height, left:left + width] = resize(
        pixels, (height, width), cv2.INTER_AREA if fit < 1 else cv2.INTER_LINEAR)
    return canvas


def draw_predictions(canvas: U8, predictions: Sequence[Prediction], title: str = '') -> None:
    """Draw a title and one line per prediction (score, name, and a bar) onto a BGR image, in place."""
    unit = min(canvas.shape[0] / _REFERENCE[0], canvas.shape[1] / _REFERENCE[1])
    titles = [title] if title else []
    lines = titles + [f'{prediction.score:5.1%} {prediction.name}' for prediction in predictions]
    if not lines:
        return
    bottom = round((len(lines) * _LINE + 10) * unit)
    canvas[:bottom] = (canvas[:bottom] * _SHADE).astype(np.uint8)
    for row, prediction in enumerate(predictions, start=len(titles)):
        left, top = round(_MARGIN * unit), round((row * _LINE + 28) * unit)
        right = left + round(prediction.score * (canvas.shape[1] - 2 * left))
        cv2.rectangle(canvas, (left, top), (right, top + round(3 * unit)), _GREEN, cv2.FILLED)
    for row, line in enumerate(lines):
        baseline = round(_MARGIN * unit), round((row * _LINE + 24) * unit)
        cv2.putText(canvas, printable(line), baseline, cv2.FONT_HERSHEY_SIMPLEX, _FONT_SCALE * unit, _WHITE,
                    max(1, round(unit)), cv2.LINE_AA)
