# SPDX-License-Identifier: Apache-2.0
"""The figures of a model on a labeled dataset, and of two models against each other, as JSON and as text."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from shufflenet_ros.backends.load import LoadedModel
from shufflenet_ros.datasets.labeled_dataset import LabeledDataset
from shufflenet_ros.datasets.match_labels import match_labels
from shufflenet_ros.datasets.metrics import (
    I64,
    calibration_error,
    compare_paired,
    confusion_matrix,
    retrieval_map,
)
from shufflenet_ros.datasets.score import Scores

SIGNIFICANT = 0.05
MAX_SHOWN = 10  # classes and confused pairs
OTHER = '(other)'

Figures = dict[str, Any]


@dataclass(frozen=True)
class Evaluation:
    """A model with its scores on a dataset."""

    model: LoadedModel
    dataset: LabeledDataset
    scores: Scores

    @property
    def labels(self) -> tuple[str, ...]:
        """The model's labels."""
        return self.model.card.labels

    @cached_property
    def present(self) -> I64:
        """(C,) the labels of the scored images, as indices into the model's labels."""
        matched = np.array(match_labels(self.dataset.labels, self.labels, self.model.card.name))
        return np.asarray(matched[np.isin(matched, self.scores.targets)], np.int64)

    @cached_property
    def confusion(self) -> I64:
        """(C + 1, C + 1) over the present labels; all other predictions share the last column."""
        count = len(self.present)
        row = np.full(len(self.labels), count)
        row[self.present] = np.arange(count)
        return confusion_matrix(row[self.scores.targets], row[self.scores.ranked[:, 0]], count + 1)


def describe_dataset(dataset: LabeledDataset) -> str:
    """A dataset in one line: how many images and classes it has, and what was left out."""
    split = f' ({dataset.split})' if dataset.split else ''
    left_out = ''.join(f', {count} {cause} left out' for cause, count in dataset.left_out.items())
    return f'{dataset.path}{split}: {dataset.count} images, {len(dataset.labels)} classes{left_out}'


def model_figures(evaluation: Evaluation) -> Figures:
    """All figures of a model with at least one scored image; shares are of 1."""
    model, dataset, scores = evaluation.model, evaluation.dataset, evaluation.scores
    retrieval = None if scores.embeddings is None else retrieval_map(scores.embeddings, scores.targets)
    return {
        'model': model.card.name, 'sha256': model.sha256, 'backend': model.backend.name,
        'provider': model.backend.provider, 'precision': model.precision,
        'dataset': str(dataset.path), 'split': dataset.split,
        'images': len(scores.targets), 'skipped': len(scores.skipped), 'left_out': dict(dataset.left_out),
        'classes': len(evaluation.present), 'top1': round(scores.top(1), 4), 'top5': round(scores.top(5), 4),
        'ece': round(calibration_error(scores.confidence, scores.correct), 4),
        'map': None if retrieval is None else round(retrieval, 4),
        'per_class': _per_class(evaluation), 'confused': _confused(evaluation),
    }


def _per_class(evaluation: Evaluation) -> list[Figures]:
    """One object per class: the worst class first, then the larger one."""
    confusion = evaluation.confusion
    columns = zip(evaluation.present, confusion.sum(axis=1), np.diagonal(confusion))
    rows = [{'label': evaluation.labels[label], 'images': int(images), 'correct': int(correct),
             'top1': round(float(correct / images), 4)} for label, images, correct in columns]
    return sorted(rows, key=lambda row: (row['top1'], -row['images'], row['label']))


def _confused(evaluation: Evaluation) -> list[Figures]:
    """The most frequent pairs of a true label and a wrong prediction."""
    labels, scores = evaluation.labels, evaluation.scores
    wrong = ~scores.correct
    mistakes = np.stack([scores.targets[wrong], scores.ranked[wrong, 0]], axis=1)
    pairs, counts = np.unique(mistakes, axis=0, return_counts=True)
    return [{'label': labels[pairs[i][0]], 'predicted': labels[pairs[i][1]], 'images': int(counts[i])}
            for i in np.argsort(-counts, kind='stable')[:MAX_SHOWN]]


def compare(a: Evaluation, b: Evaluation) -> Figures:
    """The paired test on the images that have a result from both models."""
    _, in_a, in_b = np.intersect1d(a.scores.indices, b.scores.indices, return_indices=True)
    names = [a.model.card.name, b.model.card.name]
    if names[0] == names[1]:
        names = [f'{one.model.card.name}@{one.model.sha256[:8]}' for one in (a, b)]
    if not len(in_a):
        return {'comparison': names, 'images': 0, 'better': None}
    paired = compare_paired(a.scores.correct[in_a], b.scores.correct[in_b])
    ahead = names[0] if paired.only_a > paired.only_b else names[1]
    figures = {key: round(value, 4) if key != 'p_value' else float(f'{value:.3g}')
               for key, value in asdict(paired).items()}
    return {'comparison': names, 'images': len(in_a), **figures,
            'better': ahead if paired.p_value < SIGNIFICANT else None}


def within_limit(a: Scores, b: Scores, limit_points: float) -> Figures:
    """Whether model A is at most so many percentage points of top-1 below model B.

    The images are those with a result from B, at least one. An image without a result from A (NaN, say)
    counts as wrong: a variant that fails on hard images must not be scored only on the easy ones.
    """
    images, shared = len(b.indices), np.isin(a.indices, b.indices)
    below = int(b.correct.sum()) - int(a.correct[shared].sum())
    return {'limit_points': limit_points, 'points_below': round(100 * below / images, 4),
            'without_result': images - int(shared.sum()),
            'within_limit': 100 * below <= limit_points * images + 1e-9}


def figures_text(figures: Sequence[Figures]) -> list[str]:
    """The figures of all models side by side, then each model's worst classes and confused pairs."""
    columns = [_column(one) for one in figures]
    rows = [(key, *(column[key] for column in columns)) for key in columns[0]]
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ['  '.join(text.ljust(width) for text, width in zip(row, widths)).rstrip() for row in rows]
    return lines + [line for one in figures for line in _details(one)]


def _column(figures: Figures) -> dict[str, str]:
    return {
        '': figures['model'], 'runs on': f'{figures["backend"]} {figures["provider"]}',
        'images': str(figures['images']), 'skipped': str(figures['skipped']),
        'top-1': _percent(figures['top1']), 'top-5': _percent(figures['top5']),
        'calibration error': _percent(figures['ece']),
        'retrieval mAP': '-' if figures['map'] is None else _percent(figures['map']),
    }


def _percent(share: float) -> str:
    return f'{100 * share:.1f} %'


def _details(figures: Figures) -> list[str]:
    classes, pairs = figures['per_class'], figures['confused']
    lines = ['', f'{figures["model"]}: worst of {len(classes)} classes']
    lines += [f'  {_percent(row["top1"]):>7}  {row["correct"]} of {row["images"]}  {row["label"]}'
              for row in classes[:MAX_SHOWN]]
    if pairs:
        lines += [f'{figures["model"]}: most often confused']
        lines += [f'  {row["images"]:>4}  {row["label"]} predicted as {row["predicted"]}' for row in pairs]
    return lines


def comparison_text(figures: Figures) -> list[str]:
    """The comparison as counts and one sentence."""
    a, b = figures['comparison']
    if not figures['images']:
        return ['', f'no image has a result from both {a} and {b}', *_limit_text(figures)]
    only_a, only_b = figures['only_a'], figures['only_b']
    gap, low, high = (100 * figures[key] for key in ('difference', 'low', 'high'))
    if figures['better']:
        conclusion = f'{figures["better"]} is better on this dataset.'
    elif only_a == only_b:
        conclusion = 'Neither is better on this dataset.'
    else:
        conclusion = f'{a if only_a > only_b else b} is ahead, but the difference may be chance.'
    both, neither, p_value = (figures[key] for key in ('both', 'neither', 'p_value'))
    counts = f'both correct {both}, only {a} {only_a}, only {b} {only_b}, neither {neither}'
    test = f'difference {gap:+.1f} points (95 % interval {low:+.1f} to {high:+.1f}), p = {p_value:.3g}'
    return ['', counts, test, conclusion, *_limit_text(figures)]


def _limit_text(figures: Figures) -> list[str]:
    if 'within_limit' not in figures:
        return []
    a, b = figures['comparison']
    below, without_result = figures['points_below'], figures['without_result']
    gap = f'{abs(below):.2f} points of top-1 {"below" if below > 0 else "above"}' if below else 'level with'
    wrong = f', counting {without_result} images without a result as wrong' if without_result else ''
    verb = 'is' if figures['within_limit'] else 'is NOT'
    return [f'{a} is {gap} {b}{wrong}: it {verb} within {figures["limit_points"]:g}.']
