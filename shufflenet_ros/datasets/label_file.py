"""`<bag>.labels.yaml`: which class a bag's frames show when.

A list of {topic, from_s, to_s, label}: seconds from the bag's start (the log time of its first message),
from_s included, to_s not.
"""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shufflenet_ros.bags.yaml_text import YamlError, read_yaml_text
from shufflenet_ros.core.reasons import printable
from shufflenet_ros.core.strict_yaml import read_yaml
from shufflenet_ros.datasets.errors import DatasetError

SUFFIX = '.labels.yaml'
MAX_BYTES = 4 << 20
_MAX_SECONDS = 1e12  # so that nanoseconds stay integers that a bag can have
FIELDS = ('topic', 'from_s', 'to_s', 'label')


@dataclass(frozen=True)
class LabelSpan:
    """What one entry says: seconds [from_s, to_s) of a topic show `label`."""

    topic: str
    from_s: float
    to_s: float
    label: str

    def __str__(self) -> str:
        what = f'{printable(self.label, 60)} on {printable(self.topic, 60)}'
        return f'{what} from {self.from_s:g} to {self.to_s:g} s'


class Timeline:
    """A topic's spans, none inside another.

    Attributes:
        labels: all that occur.
    """

    def __init__(self, spans: list[LabelSpan]):
        self._spans = spans
        self.labels = frozenset(span.label for span in spans)
        self._starts = [_ns(span.from_s) for span in spans]

    def label_at(self, since_start_ns: int) -> str | None:
        """The label of a frame that was logged so many nanoseconds after the bag's start."""
        place = bisect_right(self._starts, since_start_ns) - 1
        inside = place >= 0 and since_start_ns < _ns(self._spans[place].to_s)
        return self._spans[place].label if inside else None


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)


def label_file_of(bag: Path) -> Path:
    """Where a bag's labels are: beside it."""
    return bag.with_name(bag.name + SUFFIX)


def read_label_file(path: Path, topics: Mapping[str, bool], duration_s: float) -> dict[str, Timeline]:
    """The timeline of each labeled topic.

    Args:
        topics: of the bag, and whether each carries images.
        duration_s: of the bag.

    Raises:
        DatasetError: names the file, the entry, the value and what is expected.
    """
    try:
        spans = [_span(entry, f'entry {i}', topics, duration_s)
                 for i, entry in enumerate(_entries(_parse(path)), start=1)]
        return {topic: Timeline(_merge([span for span in spans if span.topic == topic]))
                for topic in sorted({span.topic for span in spans})}
    except DatasetError as error:
        raise DatasetError(f'{path}: {error}') from error


def _parse(path: Path) -> Any:
    if not path.is_file():
        raise DatasetError("no such file; expected the bag's labels in it: a list of "
                       f'{{{", ".join(FIELDS)}}}, with seconds from its start (docs/evaluate.md)')
    try:
        return read_yaml(read_yaml_text(path, MAX_BYTES))
    except YamlError as error:
        raise DatasetError(f'{error}; correct it there') from error
    except ValueError as error:
        raise DatasetError(f'no YAML that can be read: {printable(str(error), 200)}; '
                       'correct it there') from error


def _entries(content: Any) -> list[Any]:
    if not isinstance(content, list) or not content:
        raise DatasetError(f'got {_shown(content)}, expected a list of one or more {{{", ".join(FIELDS)}}}')
    return content


def _shown(value: Any) -> str:
    """A value for a message; containers by their kind alone, since YAML can nest them without end."""
    if value is None:
        return 'nothing'
    if isinstance(value, (dict, list, set, tuple)):
        return f'{"an object" if isinstance(value, dict) else "a list"} of {len(value)}'
    return printable(repr(value), 80)


def _span(entry: Any, where: str, topics: Mapping[str, bool], duration_s: float) -> LabelSpan:
    if not isinstance(entry, dict):
        raise DatasetError(f'{where}: got {_shown(entry)}, expected {{{", ".join(FIELDS)}}}')
    for key in entry:
        if key not in FIELDS:
            raise DatasetError(f'{where}: unknown field {_shown(key)}; known are {", ".join(FIELDS)}')
    for key in FIELDS:
        if key not in entry:
            raise DatasetError(f'{where}: {key} is missing; expected all of {", ".join(FIELDS)}')
    topic, label = (_text(entry[key], f'{where}: {key}') for key in ('topic', 'label'))
    if not topics.get(topic):
        what = 'carries no images' if topic in topics else 'is not in the bag'
        images = ', '.join(name for name, image in topics.items() if image) or 'none'
        raise DatasetError(f'{where}: topic {_shown(topic)} {what}; its image topics are {images}')
    from_s, to_s = (_seconds(entry[key], f'{where}: {key}') for key in ('from_s', 'to_s'))
    if from_s >= to_s:
        raise DatasetError(f'{where}: from_s {from_s:g} is not before to_s {to_s:g}; expected a later to_s')
    if from_s > duration_s:
        raise DatasetError(f'{where}: from_s {from_s:g} is behind the end of the bag, which lasts '
                       f'{duration_s:.3f} s; expected seconds from its start')
    return LabelSpan(topic, from_s, to_s, label)


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value or not value.isprintable():
        raise DatasetError(f'{where}: got {_shown(value)}, expected a text; put numbers, yes and no in quotes')
    return value


def _seconds(value: Any, where: str) -> float:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 <= value <= _MAX_SECONDS:
        raise DatasetError(f"{where}: got {_shown(value)}, expected seconds from the bag's start, 0 or more")
    return float(value)


def _merge(spans: list[LabelSpan]) -> list[LabelSpan]:
    """Spans by time, overlapping ones of one label made one.

    Raises:
        DatasetError: two labels at one time.
    """
    merged: list[LabelSpan] = []
    for span in sorted(spans, key=lambda s: (s.from_s, s.to_s)):
        last = merged[-1] if merged else None
        if last is None or span.from_s >= last.to_s:
            merged.append(span)
        elif last.label != span.label:
            raise DatasetError(f'two labels at one time: {last}, and {span}; expected one: shorten a range')
        else:
            merged[-1] = LabelSpan(span.topic, last.from_s, max(last.to_s, span.to_s), span.label)
    return merged
