# SPDX-License-Identifier: Apache-2.0
"""What people see of the demo: results as lines of text, a video with the results drawn on it, a plot."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from demo.content import PAN_SIZE, RATE_HZ, START_NS, Segment, segment_at
from demo.summary import TOP, DemoRun
from scripts.rig.watcher import ReceivedResult
from shufflenet_ros.bags.reader import Bag, stamp_ns
from shufflenet_ros.cli.annotated_video import AnnotatedVideo
from shufflenet_ros.core.classifier import DEFAULT_MAX_PIXELS
from shufflenet_ros.core.decode import decode
from shufflenet_ros.core.drawing import letterbox
from shufflenet_ros.core.frame import DecodedImage, Prediction

matplotlib.use('Agg')  # works without a display
from matplotlib import pyplot as plt

ROWS = 14  # labels in the plot
RIGHT, OTHER, BAND = 'tab:green', 'tab:blue', '0.93'


class ResultPrinter:
    """Prints every n-th result, and a heading where the next segment begins."""

    def __init__(self, segments: tuple[Segment, ...], every: int, sent_at_ns: Mapping[int, int]):
        self._segments, self._every, self._sent_at_ns = segments, every, sent_at_ns
        self._count = 0
        self._current: Segment | None = None

    def __call__(self, result: ReceivedResult) -> None:
        """Count the result, and print it if it is due."""
        segment = segment_at(self._segments, result.stamp_ns)
        if segment is not self._current:
            self._current = segment
            print(f'-- {segment.title}', flush=True)
        if self._count % self._every == 0:
            print(line(result, segment, self._sent_at_ns.get(result.stamp_ns)), flush=True)
        self._count += 1


def line(result: ReceivedResult, segment: Segment, sent_at_ns: int | None) -> str:
    """Return a line: time in the bag, top 3 (* marks a right label), age seen from outside the node."""
    predictions = '  '.join(f'{label[:20] + ("*" if segment.is_right(label) else ""):<21} {score:4.2f}'
                            for label, score in result.predictions[:TOP])
    age = '' if sent_at_ns is None else f'{(result.published_ns - sent_at_ns) / 1e6:6.1f} ms'
    return f'{_seconds(result):6.2f} s   {predictions:<82}  {age}'


def _seconds(result: ReceivedResult) -> float:
    """The frame's time from the bag's start."""
    return (result.stamp_ns - START_NS) / 1e9


def write_video(bag_path: Path, run: DemoRun, path: Path) -> None:
    """Write the bag's frames with the node's own results as MP4; * marks a right label.

    Raises:
        AnnotateError: OpenCV cannot write MP4 here.
    """
    with Bag(bag_path) as bag, AnnotatedVideo(path, RATE_HZ) as video:
        for item in bag.messages():
            stamp = stamp_ns(item.message)
            segment = segment_at(run.segments, stamp)
            image = DecodedImage(letterbox(decode(item.message, DEFAULT_MAX_PIXELS), PAN_SIZE), 'bgr')
            result = run.result_by_stamp.get(stamp)
            predictions = [
                Prediction(label + (' *' if segment.is_right(label) else ''), rank, score)
                for rank, (label, score) in enumerate(result.predictions[:TOP])] if result else []
            note = '' if result else '   (no result for this frame)'
            video.add(image, predictions, segment.title + note)


def draw_timeline(run: DemoRun, path: Path, model: str) -> None:
    """Write the plot as PNG. From top to bottom: labels over time, score over time, ages."""
    figure, axes = plt.subplots(3, 1, figsize=(12, 10), height_ratios=(4, 2, 2), layout='constrained')
    _draw_labels(axes[0], run)
    _draw_scores(axes[1], run)
    _draw_ages(axes[2], run)
    figure.suptitle(f'{model}: {len(run.results)} results for {len(run.sent_ns)} frames, '
                    f'right label in the top 3 on {run.known_right():.0%} of the counted pan frames')
    figure.savefig(path, dpi=80)
    plt.close(figure)


def _draw_bands(axis: Any, run: DemoRun) -> None:
    for i, segment in enumerate(run.segments):
        axis.axvspan(segment.from_s, segment.to_s, color=BAND if i % 2 else 'white', zorder=0)
    axis.set_xlim(0, run.segments[-1].to_s)


def _draw_labels(axis: Any, run: DemoRun) -> None:
    """Draw a row per label, with a dot for each time in the top 3; the dot's size is the score."""
    points = [(_seconds(result), label, score, run.segment_of(result).is_right(label))
              for result in run.result_by_stamp.values() for label, score in result.predictions[:TOP]]
    weight: dict[str, float] = defaultdict(float)
    for _, label, score, right in points:
        weight[label] += score + 1e6 * right  # a right label always has a row
    rows = sorted(weight, key=lambda label: weight[label])[-ROWS:]
    for color, wanted, title in ((OTHER, False, 'in the top 3'), (RIGHT, True, 'in the top 3 and right')):
        shown = [(t, rows.index(label), 60 * score + 1) for t, label, score, right in points
                 if label in rows and right == wanted]
        if shown:
            t, y, size = np.transpose(shown)
            axis.scatter(t, y, s=size, color=color, label=title)
    _draw_bands(axis, run)
    for segment in run.segments:
        axis.text((segment.from_s + segment.to_s) / 2, len(rows), segment.title.replace(', right', '\nright'),
                  ha='center', va='bottom', fontsize=8)
    axis.set_yticks(range(len(rows)), rows)
    axis.set_ylim(-1, len(rows) - 0.3)
    axis.set_ylabel('label')
    axis.legend(loc='lower left', fontsize=8)


def _draw_scores(axis: Any, run: DemoRun) -> None:
    results = run.result_by_stamp.values()
    times = [_seconds(result) for result in results]
    best = [result.predictions[0][1] if result.predictions else 0.0 for result in results]
    right = [max((score for label, score in result.predictions if run.segment_of(result).is_right(label)),
                 default=np.nan) for result in results]
    axis.plot(times, best, '.', color=OTHER, markersize=3, label='best label')
    axis.plot(times, right, '.', color=RIGHT, markersize=3, label='right label')
    _draw_bands(axis, run)
    axis.set_ylim(0, 1)
    axis.set_xlabel("seconds from the bag's start")
    axis.set_ylabel('score')
    axis.legend(loc='upper left', fontsize=8)


def _draw_ages(axis: Any, run: DemoRun) -> None:
    top = float(np.quantile(run.ages_ms, 0.995)) * 1.2 if run.ages_ms else 1.0
    axis.hist(run.ages_ms, bins=np.linspace(0, top, 60), color=OTHER,
              label="from outside: result's publication minus image's publication")
    for name, value in (('p50', run.node.age_p50_ms), ('p99', run.node.age_p99_ms)):
        axis.axvline(value, color='tab:red', linestyle='--')
        axis.text(value, 0.95, f' {name} {value:.1f} ms\n in the node', va='top', color='tab:red', fontsize=8,
                  transform=axis.get_xaxis_transform())
    axis.set_xlabel('age in ms')
    axis.set_ylabel('results')
    axis.set_xlim(left=0)
    axis.legend(loc='center right', fontsize=8)
