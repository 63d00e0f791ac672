"""What scores mean: the figures of a model on a set, for people and as JSON."""

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from shufflenet_ros.backends.load import LoadedModel
from shufflenet_ros.datasets.classes import match_labels
from shufflenet_ros.datasets.metrics import (
    I64,
    calibration_error,
    compare_paired,
    confusion_matrix,
    per_class_accuracy,
    retrieval_map,
)
from shufflenet_ros.datasets.sample import LabeledDataset
from shufflenet_ros.datasets.score import Scores

SIGNIFICANT = 0.05
SHOWN_CLASSES, SHOWN_PAIRS = 10, 10
OTHER = '(other)'

Figures = dict[str, Any]


@dataclass(frozen=True)
class Evaluation:
    """A model with its answers on a set."""

    model: LoadedModel
    dataset: LabeledDataset
    scores: Scores

    @property
    def labels(self) -> tuple[str, ...]:
        """The model's labels."""
        return self.model.card.labels

    @cached_property
    def present(self) -> I64:
        """(C,) labels that the set's images have, in its order, as indices into the model's labels."""
        matched = np.array(match_labels(self.dataset.labels, self.labels, self.model.card.name))
        return np.asarray(matched[np.isin(matched, self.scores.targets)], np.int64)

    @cached_property
    def confusion(self) -> I64:
        """(C + 1, C + 1) over the present classes; answers that are none of them share the last column."""
        count = len(self.present)
        place = np.full(len(self.labels), count)
        place[self.present] = np.arange(count)
        return confusion_matrix(place[self.scores.targets], place[self.scores.ranked[:, 0]], count + 1)


def describe_set(dataset: LabeledDataset) -> str:
    """A set in one line: what it has, and what of it is no sample."""
    split = f' ({dataset.split})' if dataset.split else ''
    left_out = ''.join(f', {count} {cause} left out' for cause, count in dataset.left_out.items())
    return f'{dataset.path}{split}: {dataset.count} images, {len(dataset.labels)} classes{left_out}'


def report(one: Evaluation) -> Figures:
    """All figures of a model with at least one answer; shares are of 1."""
    scores = one.scores
    retrieval = None if scores.embeddings is None else retrieval_map(scores.embeddings, scores.targets)
    return {
        'model': one.model.card.name, 'sha256': one.model.sha256, 'backend': one.model.backend.name,
        'provider': one.model.backend.provider, 'precision': one.model.precision,
        'set': str(one.dataset.path), 'split': one.dataset.split,
        'images': len(scores.targets), 'skipped': len(scores.skipped), 'left_out': dict(one.dataset.left_out),
        'classes': len(one.present), 'top1': round(scores.top(1), 4), 'top5': round(scores.top(5), 4),
        'ece': round(calibration_error(scores.confidence, scores.right), 4),
        'map': None if retrieval is None else round(retrieval, 4),
        'per_class': _per_class(one), 'confused': _confused(one),
    }


def _per_class(one: Evaluation) -> list[Figures]:
    """One object a class, the worst first, of equal ones the largest."""
    images, share = one.confusion.sum(axis=1), per_class_accuracy(one.confusion)
    right = np.diagonal(one.confusion)
    rows = [{'label': one.labels[label], 'images': int(images[i]), 'right': int(right[i]),
             'top1': round(float(share[i]), 4)} for i, label in enumerate(one.present)]
    return sorted(rows, key=lambda row: (row['top1'], -row['images'], row['label']))


def _confused(one: Evaluation) -> list[Figures]:
    """The pairs that are mistaken most often."""
    wrong = ~one.scores.right
    mistakes = np.stack([one.scores.targets[wrong], one.scores.ranked[wrong, 0]], axis=1)
    pairs, counts = np.unique(mistakes, axis=0, return_counts=True)
    most = np.argsort(-counts, kind='stable')[:SHOWN_PAIRS]
    return [{'truth': one.labels[pairs[i][0]], 'answer': one.labels[pairs[i][1]], 'images': int(counts[i])}
            for i in most]


def comparison(a: Evaluation, b: Evaluation) -> Figures:
    """The paired test on the images that both models answered."""
    _, in_a, in_b = np.intersect1d(a.scores.places, b.scores.places, assume_unique=True, return_indices=True)
    names = [a.model.card.name, b.model.card.name]
    if names[0] == names[1]:
        names = [f'{one.model.card.name}@{one.model.sha256[:8]}' for one in (a, b)]
    if not len(in_a):
        return {'comparison': names, 'images': 0, 'better': None}
    paired = compare_paired(a.scores.right[in_a], b.scores.right[in_b])
    better = None
    if paired.p_value < SIGNIFICANT:
        better = names[0] if paired.only_a > paired.only_b else names[1]
    figures = {key: round(value, 4) if key != 'p_value' else float(f'{value:.3g}')
               for key, value in asdict(paired).items()}
    return {'comparison': names, 'images': len(in_a), **figures, 'better': better}


def verdict(a: Scores, b: Scores, points: float) -> Figures:
    """Whether the first model is at most so many percentage points of top-1 below the second.

    The images are those that the second answered, at least one. Where the first gives no answer, say NaN,
    it is wrong: a variant that fails on hard images must not be judged on the easy ones alone.
    """
    images, shared = len(b.places), np.isin(a.places, b.places)
    behind = int(b.right.sum()) - int(a.right[shared].sum())
    return {'within_points': points, 'behind_points': round(100 * behind / images, 4),
            'unanswered': images - int(shared.sum()), 'passed': 100 * behind <= points * images + 1e-9}


def report_lines(evaluated: list[Evaluation]) -> list[str]:
    """The figures side by side, then the worst classes and the commonest mistakes of each model."""
    reports = [report(one) for one in evaluated]
    columns = [_column(r) for r in reports]
    rows = [('', *(r['model'] for r in reports)), *((key, *(c[key] for c in columns)) for key in columns[0])]
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ['  '.join(text.ljust(width) for text, width in zip(row, widths)).rstrip() for row in rows]
    return lines + [line for r in reports for line in _details(r)]


def _column(figures: Figures) -> dict[str, str]:
    return {
        'runs on': f'{figures["backend"]} {figures["provider"]}',
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
    lines += [f'  {_percent(row["top1"]):>7}  {row["right"]} of {row["images"]}  {row["label"]}'
              for row in classes[:SHOWN_CLASSES]]
    if pairs:
        lines += [f'{figures["model"]}: most often mistaken']
        lines += [f'  {row["images"]:>4}  {row["truth"]} called {row["answer"]}' for row in pairs]
    return lines


def comparison_lines(figures: Figures) -> list[str]:
    """The comparison as counts and one sentence."""
    a, b = figures['comparison']
    if not figures['images']:
        return ['', f'{a} and {b} have no answered image in common', *_verdict_lines(figures)]
    only_a, only_b, p = figures['only_a'], figures['only_b'], figures['p_value']
    low, high = 100 * figures['low'], 100 * figures['high']
    counts = (f'both right {figures["both"]}, only {a} {only_a}, only {b} {only_b}, '
              f'neither {figures["neither"]}')
    gap = (f'difference {100 * figures["difference"]:+.1f} points (95 % interval {low:+.1f} to {high:+.1f}), '
           f'p = {p:.3g}')
    if figures['better']:
        said = f'{figures["better"]} is better on this set'
    elif only_a == only_b:
        said = 'Neither is better on this set'
    else:
        said = f'{a if only_a > only_b else b} is ahead, but the difference may be chance'
    return ['', counts, gap, f'{said}.', *_verdict_lines(figures)]


def _verdict_lines(figures: Figures) -> list[str]:
    if 'passed' not in figures:
        return []
    a, b = figures['comparison']
    behind, unanswered = figures['behind_points'], figures['unanswered']
    side = 'below' if behind > 0 else 'above'
    gap = f'{abs(behind):.2f} points of top-1 {side}' if behind else 'level with'
    wrong = f', {unanswered} images without an answer taken as wrong' if unanswered else ''
    word = 'is' if figures['passed'] else 'is NOT'
    return [f'{a} is {gap} {b}{wrong}: it {word} within {figures["within_points"]:g}.']
