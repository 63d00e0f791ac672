# SPDX-License-Identifier: Apache-2.0
"""`<bag>.labels.yaml`: which class the frames of a bag show, and when.

A list of {topic, from_s, to_s, label}: seconds from the bag's start (the log time of its first message),
from_s included, to_s excluded.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from shufflenet_ros.core.fields import FieldError, choice, invalid, items, number, section
from shufflenet_ros.core.strict_yaml import YamlError, read_yaml_file
from shufflenet_ros.core.text import printable
from shufflenet_ros.datasets.errors import DatasetError

SUFFIX = '.labels.yaml'
MAX_BYTES = 4 << 20
FIELDS = ('topic', 'from_s', 'to_s', 'label')
_MAX_ENTRIES = 100_000  # more than MAX_BYTES can hold
_MAX_SECONDS = 1e12  # in nanoseconds still an integer that a bag can have


@dataclass(frozen=True)
class LabelSpan:
    """One entry: seconds [from_s, to_s) of a topic show `label`."""

    topic: str
    from_s: float
    to_s: float
    label: str

    def __str__(self) -> str:
        what = f'{printable(self.label, 60)} on {printable(self.topic, 60)}'
        return f'{what} from {self.from_s:g} to {self.to_s:g} s'


class Timeline:
    """The spans of one topic, in order of time and without overlaps."""

    def __init__(self, spans: list[LabelSpan]):
        self._spans = spans
        self._starts = [_ns(span.from_s) for span in spans]
        self.labels = {span.label for span in spans}

    def label_at(self, since_start_ns: int) -> str | None:
        """The label of a frame that was logged this many nanoseconds after the bag's start."""
        i = bisect_right(self._starts, since_start_ns) - 1
        inside = i >= 0 and since_start_ns < _ns(self._spans[i].to_s)
        return self._spans[i].label if inside else None


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)


def read_label_file(path: Path, image_topics: Sequence[str], duration_s: float) -> dict[str, Timeline]:
    """The timeline of each labeled topic.

    Args:
        image_topics, duration_s: of the bag.

    Raises:
        DatasetError: names the file, the entry, the field, the value and what is expected.
    """
    try:
        if not path.is_file():
            raise DatasetError("no such file; expected the bag's labels: a list of "
                               f'{{{", ".join(FIELDS)}}}, in seconds from its start (docs/evaluate.md)')
        entries = items(read_yaml_file(path, MAX_BYTES), 'labels', _MAX_ENTRIES)
        spans = [_span(entry, f'entry {i}', image_topics, duration_s)
                 for i, entry in enumerate(entries, start=1)]
        return {topic: Timeline(_merge([span for span in spans if span.topic == topic]))
                for topic in sorted({span.topic for span in spans})}
    except (DatasetError, FieldError, YamlError) as error:
        raise DatasetError(f'{path}: {error}') from error


def _span(entry: Any, where: str, image_topics: Sequence[str], duration_s: float) -> LabelSpan:
    section(entry, where, FIELDS)
    topic = choice(entry['topic'], f'{where}.topic', image_topics)
    from_s, to_s = (number(entry[key], f'{where}.{key}', 0, _MAX_SECONDS) for key in ('from_s', 'to_s'))
    if from_s >= to_s:
        raise invalid(f'{where}.to_s', entry['to_s'], f'more than from_s, {from_s:g}')
    if from_s > duration_s:
        raise invalid(f'{where}.from_s', entry['from_s'],
                      f'seconds from the start of the bag, which lasts {duration_s:.3f} s')
    label = entry['label']
    if not isinstance(label, str) or not label or not label.isprintable():
        raise invalid(f'{where}.label', label, 'one line of text; put numbers, yes and no in quotes')
    return LabelSpan(topic, from_s, to_s, label)


def _merge(spans: list[LabelSpan]) -> list[LabelSpan]:
    """Spans in order of time; overlapping spans of one label become one.

    Raises:
        DatasetError: two labels at one time.
    """
    merged: list[LabelSpan] = []
    for span in sorted(spans, key=lambda s: (s.from_s, s.to_s)):
        if not merged or span.from_s >= merged[-1].to_s:
            merged.append(span)
            continue
        last = merged[-1]
        if last.label != span.label:
            raise DatasetError(f'two labels at the same time: {last}, and {span}; expected one: '
                               'shorten a range')
        merged[-1] = replace(last, to_s=max(last.to_s, span.to_s))
    return merged
