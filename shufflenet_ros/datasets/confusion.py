"""The confusion matrix as an image: rows are the right classes, columns what the model called them."""

from collections.abc import Sequence
from math import sqrt
from pathlib import Path

import numpy as np

from shufflenet_ros.core.errors import ShuffleNetError
from shufflenet_ros.core.files import write_whole
from shufflenet_ros.core.frame import U8
from shufflenet_ros.core.opencv import cv2
from shufflenet_ros.core.reasons import printable
from shufflenet_ros.datasets.evaluation import OTHER, Evaluation
from shufflenet_ros.datasets.metrics import F64, I64

MAX_CLASSES = 2000
_FONT, _SCALE, _LINE, _GAP = cv2.FONT_HERSHEY_SIMPLEX, 0.4, 14, 10
_SIDE, _MAX_CELL, _COUNT_CELL, _GRID_CELL = 900, 64, 26, 8
_WHITE, _BLACK, _DARK, _GREY = (255, 255, 255), (0, 0, 0), (120, 45, 0), (225, 225, 225)  # BGR
_HEAD, _SCALE_WIDTH, _NAME_LENGTH = 50, 90, 26
_AXES = 'rows: right class, columns: what it was called, shade: share of the row'


class ConfusionError(ShuffleNetError):
    """The image cannot be drawn or written; the message says why and what to do."""


def check_target(path: Path) -> None:
    """See early, before minutes of scoring, whether the image can be written.

    Raises:
        ConfusionError: another suffix than .png, or no such folder.
    """
    if path.suffix.lower() != '.png' or not path.parent.is_dir():
        raise ConfusionError(f'image {path} cannot be written: expected a name that ends in .png, in a '
                             'folder that exists')


def draw_confusion(one: Evaluation) -> U8:
    """(H, W, 3) uint8 BGR, titled with the model's name and its top-1.

    Raises:
        ConfusionError: more than 2000 classes.
    """
    if len(one.present) > MAX_CLASSES:
        raise ConfusionError(f'{len(one.present)} classes: a confusion image shows at most {MAX_CLASSES}; '
                             'use --json')
    matrix = one.confusion[:-1]
    names = [one.labels[label] for label in one.present]
    columns = [*names, OTHER]
    if not matrix[:, -1].any():
        matrix, columns = matrix[:, :-1], names
    title = (f'{one.model.card.name}: top-1 {100 * one.scores.top(1):.1f} % of '
             f'{len(one.scores.targets)} images')
    return draw(matrix, names, columns, title)


def draw(matrix: I64, rows: Sequence[str], columns: Sequence[str], title: str) -> U8:
    """A matrix of counts, shaded by each one's share of its row.

    Args:
        matrix: (R, C) images of class row that were called class column.
    """
    cell = int(np.clip(_SIDE // len(columns), 2, _MAX_CELL))
    grid, left = _cells(matrix, cell), _names(rows, cell)
    below = cv2.rotate(_names(columns, cell), cv2.ROTATE_90_COUNTERCLOCKWISE)
    x, y = _GAP + left.shape[1], _HEAD
    right, bottom = x + grid.shape[1], y + grid.shape[0]
    width = max(right + _SCALE_WIDTH, max(map(_text_width, (title, _AXES))) + 2 * _GAP)
    canvas = np.full((bottom + max(below.shape[0], 4 * _LINE) + _GAP, width, 3), 255, np.uint8)
    canvas[y:bottom, x:right], canvas[y:bottom, _GAP:x] = grid, left
    canvas[bottom:bottom + below.shape[0], x:right] = below
    _text(canvas, title, _GAP, 18)
    _text(canvas, _AXES, _GAP, 36)
    _scale(canvas, right + 2 * _GAP, y, max(grid.shape[0], 4 * _LINE))
    return canvas


def write_image(path: Path, parts: Sequence[U8]) -> None:
    """Write images side by side as one PNG.

    Raises:
        WriteError: it cannot be written.
    """
    height = max(part.shape[0] for part in parts)
    padded = [cv2.copyMakeBorder(part, 0, height - part.shape[0], 0, 0, cv2.BORDER_CONSTANT, value=_WHITE)
              for part in parts]
    write_whole(path, cv2.imencode('.png', np.hstack(padded))[1].tobytes())


def _shade(share: F64) -> U8:
    """(..., 3) from white at 0 to dark at 1, by the root, so that among 200 classes a 1 % can be seen."""
    return np.asarray(255 + np.sqrt(share)[..., None] * (np.array(_DARK) - 255.0), np.uint8)


def _cells(matrix: I64, cell: int) -> U8:
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    grid = np.ascontiguousarray(_shade(share).repeat(cell, axis=0).repeat(cell, axis=1))
    if cell >= _GRID_CELL:
        grid[::cell], grid[:, ::cell] = _GREY, _GREY
    if cell >= _COUNT_CELL:
        for row, column in np.argwhere(matrix):
            text = str(matrix[row, column])
            middle = (column * cell + (cell - _text_width(text)) // 2, row * cell + cell // 2 + 4)
            _text(grid, text, *middle, _WHITE if share[row, column] > 0.25 else _BLACK)
    return grid


def _names(names: Sequence[str], cell: int) -> U8:
    """A strip of names beside their rows, flush right; of rows lower than a line only every n-th is named."""
    shown = [printable(name, _NAME_LENGTH) for name in names]
    width = max(map(_text_width, shown)) + _GAP // 2
    strip = np.full((len(names) * cell, width, 3), 255, np.uint8)
    every = -(-_LINE // cell)
    for place in range(0, len(names), every):
        x = width - _text_width(shown[place]) - _GAP // 2
        # The first and the last name must not stick out, however low their rows are.
        y = np.clip(place * cell + cell // 2 + 4, _LINE - 4, max(_LINE - 4, len(names) * cell - 4))
        _text(strip, shown[place], x, int(y))
    return strip


def _scale(canvas: U8, x: int, y: int, height: int) -> None:
    """What a shade means, as a bar with its ends and middle (a quarter) named."""
    root = np.linspace(1.0, 0.0, height)
    canvas[y:y + height, x:x + 16] = _shade(root ** 2)[:, None]
    for share in (1.0, 0.25, 0.0):
        _text(canvas, f'{share:.0%}', x + 22, y + 4 + round((1 - sqrt(share)) * (height - 1)))


def _text_width(text: str) -> int:
    return int(cv2.getTextSize(text, _FONT, _SCALE, 1)[0][0])


def _text(canvas: U8, text: str, x: int, y: int, color: tuple[int, int, int] = _BLACK) -> None:
    cv2.putText(canvas, text, (int(x), int(y)), _FONT, _SCALE, color, 1, cv2.LINE_AA)
