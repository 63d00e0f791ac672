"""The demo's image: which label with which score at what time, and how old the results were."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from demo.plan import START_NS, is_right
from demo.report import TOP, Outcome, Result, known_right

matplotlib.use('Agg')  # works without a display
from matplotlib import pyplot as plt

ROWS = 14  # labels that get a row of their own
RIGHT, OTHER, BAND = 'tab:green', 'tab:blue', '0.93'


def draw_timeline(outcome: Outcome, path: Path, model: str) -> None:
    """Write the image as PNG: labels over time above, score over time between, ages below."""
    figure, axes = plt.subplots(3, 1, figsize=(12, 10), height_ratios=(4, 2, 2), layout='constrained')
    _labels(axes[0], outcome)
    _scores(axes[1], outcome)
    _ages(axes[2], outcome)
    figure.suptitle(f'{model}: {len(outcome.results)} results for {len(outcome.sent_ns)} frames, '
                    f'right label in the top 3 on {known_right(outcome):.0%} of the counted pan frames')
    figure.savefig(path, dpi=80)
    plt.close(figure)


def _seconds(result: Result) -> float:
    return (result.stamp_ns - START_NS) / 1e9


def _bands(axis: Any, outcome: Outcome) -> None:
    for i, segment in enumerate(outcome.segments):
        axis.axvspan(segment.from_s, segment.to_s, color=BAND if i % 2 else 'white', zorder=0)
    axis.set_xlim(0, outcome.segments[-1].to_s)


def _labels(axis: Any, outcome: Outcome) -> None:
    """One row a label: every time it was in the top 3, as large as its score."""
    points = [(_seconds(r), name, score, is_right(name, outcome.segment_of(r.stamp_ns)))
              for r in outcome.answers().values() for name, score in r.labels[:TOP]]
    weight: dict[str, float] = defaultdict(float)
    for _, name, score, right in points:
        weight[name] += score + 1e6 * right  # a right label always has a row
    rows = sorted(weight, key=lambda name: weight[name])[-ROWS:]
    for color, wanted, title in ((OTHER, False, 'in the top 3'), (RIGHT, True, 'in the top 3 and right')):
        shown = [(t, rows.index(name), score) for t, name, score, right in points
                 if name in rows and right == wanted]
        if shown:
            t, y, size = np.transpose(shown)
            axis.scatter(t, y, s=60 * size + 1, color=color, label=title)
    _bands(axis, outcome)
    for segment in outcome.segments:
        title = segment.name + (f'\nright: {", ".join(segment.right)}' if segment.right else '')
        axis.text((segment.from_s + segment.to_s) / 2, len(rows), title, ha='center', va='bottom', fontsize=8)
    axis.set_yticks(range(len(rows)), rows)
    axis.set_ylim(-1, len(rows) - 0.3)
    axis.set_ylabel('label')
    axis.legend(loc='lower left', fontsize=8)


def _scores(axis: Any, outcome: Outcome) -> None:
    times = [_seconds(r) for r in outcome.answers().values()]
    best = [r.labels[0][1] if r.labels else 0.0 for r in outcome.answers().values()]
    right = [max((score for name, score in r.labels if is_right(name, outcome.segment_of(r.stamp_ns))),
                 default=np.nan) for r in outcome.answers().values()]
    axis.plot(times, best, '.', color=OTHER, markersize=3, label='best label')
    axis.plot(times, right, '.', color=RIGHT, markersize=3, label='right label')
    _bands(axis, outcome)
    axis.set_ylim(0, 1)
    axis.set_xlabel("seconds from the bag's start")
    axis.set_ylabel('score')
    axis.legend(loc='upper left', fontsize=8)


def _ages(axis: Any, outcome: Outcome) -> None:
    ages = outcome.seen_ages_ms()
    top = float(np.quantile(ages, 0.995)) * 1.2 if ages else 1.0
    axis.hist(ages, bins=np.linspace(0, top, 60), color=OTHER,
              label="from outside: result's publication minus image's publication")
    for name, value in (('p50', outcome.node.age_p50_ms), ('p99', outcome.node.age_p99_ms)):
        axis.axvline(value, color='tab:red', linestyle='--')
        axis.text(value, 0.95, f' {name} {value:.1f} ms\n in the node', va='top', color='tab:red', fontsize=8,
                  transform=axis.get_xaxis_transform())
    axis.set_xlabel('age in ms')
    axis.set_ylabel('results')
    axis.set_xlim(left=0)
    axis.legend(loc='center right', fontsize=8)
