# SPDX-License-Identifier: Apache-2.0
"""Draw confusion matrices: rows are true classes, columns are predicted classes. Needs matplotlib."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from shufflenet_ros.core.errors import ShuffleNetError
from shufflenet_ros.core.files import replacing
from shufflenet_ros.core.text import printable
from shufflenet_ros.datasets.evaluation import OTHER, Evaluation
from shufflenet_ros.datasets.metrics import I64

MAX_CLASSES = 2000
_COUNTS_UP_TO = 34  # classes: with more, a number does not fit in its cell
_NAMES_UP_TO = 64  # with more classes only every n-th is named
_NAME_LENGTH = 26
_COLORS = ('#ffffff', '#002d78')


class ConfusionError(ShuffleNetError):
    """The image cannot be drawn or written. The message has the reason and a remedy."""


def check_confusion_path(path: Path) -> None:
    """Check before minutes of scoring that the image can be drawn and written.

    Raises:
        ConfusionError: not a .png, or its folder does not exist.
        ModuleNotFoundError: matplotlib is missing.
    """
    import matplotlib  # noqa: F401
    if path.suffix.lower() != '.png' or not path.parent.is_dir():
        raise ConfusionError(f'image {path} cannot be written: expected a name that ends in .png, in a '
                             'folder that exists')


def write_confusion(path: Path, evaluations: Sequence[Evaluation]) -> None:
    """Draw the matrices of models side by side into one PNG.

    Raises:
        ConfusionError: more than 2000 classes.
        WriteError: the file cannot be written.
    """
    from matplotlib.figure import Figure

    classes = max(len(one.present) for one in evaluations)
    if classes > MAX_CLASSES:
        raise ConfusionError(f'{classes} classes: a confusion image shows at most {MAX_CLASSES}; use --json')
    figure = Figure(figsize=(11.5 * len(evaluations), 11), dpi=100, layout='constrained')
    for one, axes in zip(evaluations, figure.subplots(1, len(evaluations), squeeze=False)[0]):
        names = [one.labels[label] for label in one.present]
        images = len(one.scores.targets)
        draw_matrix(axes, one.confusion[:-1], names,
                    f'{one.model.card.name}: top-1 {100 * one.scores.top(1):.1f} % of {images} images')
    with replacing(path) as draft:
        figure.savefig(draft, format='png')


def draw_matrix(axes: Any, matrix: I64, names: Sequence[str], title: str) -> None:
    """Draw a matrix of counts, shaded by the share of each row.

    Args:
        axes: of matplotlib.
        matrix: (C, C + 1) images of class row predicted as class column; the last column is all other labels.
    """
    from matplotlib.colors import LinearSegmentedColormap, PowerNorm

    rows = [_plain(name, _NAME_LENGTH) for name in names]
    columns = [*rows, OTHER]
    if not matrix[:, -1].any():
        matrix, columns = matrix[:, :-1], rows
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    # The square root as shade, so that 1 % is visible among 200 classes.
    shades = axes.imshow(share, LinearSegmentedColormap.from_list('shades', _COLORS), PowerNorm(0.5, 0, 1),
                         interpolation='nearest')
    axes.figure.colorbar(shades, ax=axes, shrink=0.5).set_ticks((0, 0.25, 1), labels=('0 %', '25 %', '100 %'))
    step = -(-len(columns) // _NAMES_UP_TO)
    axes.set_yticks(range(0, len(rows), step), rows[::step], fontsize=8)
    axes.set_xticks(range(0, len(columns), step), columns[::step], fontsize=8, rotation=90)
    axes.set(title=_plain(title, 120), ylabel='true class', xlabel='predicted class; shade: share of the row')
    if len(columns) <= _COUNTS_UP_TO:
        for row, column in np.argwhere(matrix):
            axes.text(column, row, str(matrix[row, column]), ha='center', va='center',
                      color='white' if share[row, column] > 0.25 else 'black')


def _plain(text: str, length: int) -> str:
    """Printable text without formulas, which begin with a dollar sign in matplotlib."""
    return printable(text, length).replace('$', r'\$')
