# SPDX-License-Identifier: Apache-2.0
"""A page about a recording: its labels, scores and times over time, each frame on a click.

Knows nothing of models and of ROS: frames have labels with scores, tables have text.
"""

import base64
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from shufflenet_ros.core.drawing import letterbox
from shufflenet_ros.core.frame import DecodedImage
from shufflenet_ros.core.opencv import cv2
from shufflenet_ros.pages.page import render

MAX_THUMBNAILS = 600
_THUMBNAIL_SIDE, _JPEG_QUALITY = 160, 60
_HOLD_MS = 1000.0  # a frame counts until the next one of its track, but at most that long
_ROWS = 12  # labels with a row in the chart
_TABLE_ROWS = 20


@dataclass(frozen=True)
class ReportFrame:
    """One frame.

    Attributes:
        track: the camera's topic, or what else the frame belongs to.
        source, number: file or bag, and the frame's number in it.
        log_ns: when it was recorded, its place on the time axis; None without a time.
        stamp_ns: of its header, None without.
        labels: (name, score), best first.
        dropped: the reason why there are no labels, else ''.
        detail: the reason in words, else ''.
        times_ms: milliseconds of each stage.
    """

    track: str
    source: str
    number: int
    log_ns: int | None
    stamp_ns: int | None
    labels: Sequence[tuple[str, float]] = ()
    dropped: str = ''
    detail: str = ''
    times_ms: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """A table. All columns but the first are aligned as numbers, unless `text` is set."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[Any]]
    note: str = ''
    text: bool = False


class Thumbnails:
    """Small JPEGs of at most about MAX_THUMBNAILS frames, evenly spread over each track.

    The number of frames need not be known: where there are too many, every second one goes.

    Attributes:
        jpegs: by the frame's index.
    """

    def __init__(self) -> None:
        self.jpegs: dict[int, bytes] = {}
        self._every = 1
        self._count: Counter[str] = Counter()
        self._places: dict[int, int] = {}  # in the track, by index

    def add(self, index: int, track: str, image: DecodedImage | None) -> None:
        """Keep the image of the frame with this index if its turn has come."""
        place = self._count[track]
        self._count[track] += 1
        if image is None or place % self._every:
            return
        height, width = image.pixels.shape[:2]
        fit = min(_THUMBNAIL_SIDE / max(height, width), 1.0)
        small = letterbox(image, (max(1, round(height * fit)), max(1, round(width * fit))))
        jpeg = cv2.imencode('.jpg', small, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1]
        self.jpegs[index], self._places[index] = jpeg.tobytes(), place
        if len(self.jpegs) > MAX_THUMBNAILS:
            self._every *= 2
            self.jpegs = {i: jpeg for i, jpeg in self.jpegs.items() if self._places[i] % self._every == 0}


def report_page(title: str, frames: Sequence[ReportFrame], thumbnails: Mapping[int, bytes],
                tables: Iterable[Table] = ()) -> str:
    """The page as text. It needs no other file and no network.

    Args:
        frames: of all tracks, at least one. If each has a time, they are put in its order and the axis is
            time; otherwise it counts frames.
        thumbnails: JPEGs by the index of their frame.
        tables: shown below the ones that are made of the frames; none without rows.
    """
    timed = all(frame.log_ns is not None for frame in frames)
    order = sorted(range(len(frames)), key=lambda i: frames[i].log_ns or 0) if timed else range(len(frames))
    shown = [frames[i] for i in order]
    x = [(frame.log_ns or 0) / 1e6 if timed else float(i) for i, frame in enumerate(shown)]
    holds = _holds(shown, x, _HOLD_MS if timed else 1.0)
    shares = _shares(shown, holds)
    slots = {index: slot for slot, index in enumerate(thumbnails)}
    tracks, labels, sources = (_Numbers() for _ in range(3))
    rows = [labels[name] for name in list(shares)[:_ROWS]]
    stages = list(dict.fromkeys(stage for frame in shown for stage in frame.times_ms))
    data = {
        'timed': timed, 'x': x, 'hold': [round(hold, 3) for hold in holds], 'rows': rows,
        'track': [tracks[frame.track] for frame in shown],
        'source': [sources[frame.source] for frame in shown], 'number': [frame.number for frame in shown],
        'stamp': [None if frame.stamp_ns is None else '{}.{:09}'.format(*divmod(frame.stamp_ns, 10**9))
                  for frame in shown],
        'top': [[(labels[name], round(score, 3)) for name, score in frame.labels] for frame in shown],
        'dropped': [frame.detail or frame.dropped for frame in shown],
        'times': [(stage, [_rounded(frame.times_ms.get(stage)) for frame in shown]) for stage in stages],
        'image': [slots.get(i, -1) for i in order],
        'images': [base64.b64encode(jpeg).decode() for jpeg in thumbnails.values()],
        'tracks': list(tracks), 'labels': list(labels), 'sources': list(sources),
    }
    all_tables = [_track_table(shown, x, timed), _label_table(shown, shares), _drop_table(shown),
                  _stage_table(shown, stages), *tables]
    return render('report.html', title=title, data=data, tables=[table for table in all_tables if table.rows],
                  count=len(frames), thumbnails=len(thumbnails))


class _Numbers(dict[str, int]):
    """Numbers texts in the order in which they are asked for."""

    def __missing__(self, text: str) -> int:
        return self.setdefault(text, len(self))


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _holds(frames: Sequence[ReportFrame], x: Sequence[float], most: float) -> list[float]:
    """How long each frame counts: until the next one of its track; the last one like the one before it."""
    holds = [most] * len(frames)
    last: dict[str, int] = {}
    for i, frame in enumerate(frames):
        if (before := last.get(frame.track)) is not None:
            holds[before] = holds[i] = min(x[i] - x[before], most)
        last[frame.track] = i
    return holds


def _shares(frames: Sequence[ReportFrame], holds: Sequence[float]) -> dict[str, float]:
    """Each best label's share of time, the largest first."""
    weights = holds if any(holds) else [1.0] * len(frames)  # all at one time: of frames
    spent: defaultdict[str, float] = defaultdict(float)
    for frame, weight in zip(frames, weights):
        if frame.labels:
            spent[frame.labels[0][0]] += weight
    total = sum(weights)
    return {name: share / total for name, share in sorted(spent.items(), key=lambda item: -item[1])}


def _track_table(frames: Sequence[ReportFrame], x: Sequence[float], timed: bool) -> Table:
    rows, indices = [], defaultdict(list)
    for i, frame in enumerate(frames):
        indices[frame.track].append(i)
    for track, members in sorted(indices.items()):
        seconds = (x[members[-1]] - x[members[0]]) / 1000
        rate = f'{(len(members) - 1) / seconds:.1f}' if timed and seconds else ''
        rows.append((track, len(members), sum(1 for i in members if frames[i].dropped), rate,
                     f'{seconds:.1f}' if timed else ''))
    return Table('Frames', ('', 'frames', 'dropped', 'rate in Hz', 'seconds'), rows)


def _label_table(frames: Sequence[ReportFrame], shares: Mapping[str, float]) -> Table:
    count = Counter(frame.labels[0][0] for frame in frames if frame.labels)
    rows = [(name, f'{share:.1%}', count[name]) for name, share in list(shares.items())[:_TABLE_ROWS]]
    note = 'A frame counts until the next one of its camera, but at most 1 s.'
    if len(shares) > _TABLE_ROWS:
        note += f' {len(shares) - _TABLE_ROWS} more labels are not listed.'
    return Table('Labels', ('best label', 'share of time', 'frames'), rows, note)


def _drop_table(frames: Sequence[ReportFrame]) -> Table:
    count = Counter(frame.dropped for frame in frames if frame.dropped)
    first = {frame.dropped: frame.detail for frame in reversed(frames)}
    return Table('Dropped frames', ('reason', 'frames', 'the first one'),
                 [(reason, number, first[reason]) for reason, number in count.most_common()], text=True)


def _stage_table(frames: Sequence[ReportFrame], stages: Sequence[str]) -> Table:
    rows = []
    for stage in stages:
        times = [frame.times_ms[stage] for frame in frames if stage in frame.times_ms]
        rows.append((stage, *(f'{value:.2f}' for value in np.percentile(times, (50, 95, 100)))))
    return Table('Times in ms', ('', 'median', '95 %', 'longest'), rows)
