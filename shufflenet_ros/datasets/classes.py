"""A set's class names among a model's labels."""

from collections.abc import Callable, Sequence
from difflib import get_close_matches

from shufflenet_ros.core.reasons import printable
from shufflenet_ros.datasets.errors import DatasetError

_NAMED = 5  # in a message


def _folded(name: str) -> str:
    return ' '.join(name.replace('_', ' ').casefold().split())


def _synonyms(label: str) -> list[str]:
    return [_folded(part) for part in label.split(',')]


# From the strictest reading of a label to the widest; the first that finds any decides.
_READINGS: tuple[Callable[[str], list[str]], ...] = (
    lambda label: [label], lambda label: [_folded(label)], _synonyms)


def match_labels(classes: Sequence[str], labels: Sequence[str], model: str) -> tuple[int, ...]:
    """The index in `labels` of each class.

    Equal names match; then names that differ in case, spaces and underscores alone; then one of a label's
    comma-separated synonyms, as ImageNet has them.

    Args:
        model: its name, for messages.

    Raises:
        DatasetError: a class that is no label, or could be several, or two classes that are one label.
    """
    tables = [_table(labels, reading) for reading in _READINGS]
    found = [_find(name, tables) for name in classes]
    unknown = [name for name, places in zip(classes, found) if not places]
    if unknown:
        raise DatasetError(_unknown(unknown, labels, model))
    taken: dict[int, str] = {}
    for name, places in zip(classes, found):
        if len(places) > 1:
            could = ', '.join(repr(labels[place]) for place in places[:_NAMED])
            raise DatasetError(f'class {name!r} could be any of {could} of {model}: give it the name of one')
        if places[0] in taken:
            raise DatasetError(f'classes {taken[places[0]]!r} and {name!r} are both label '
                           f'{labels[places[0]]!r} of {model}: make them one')
        taken[places[0]] = name
    return tuple(places[0] for places in found)


def _table(labels: Sequence[str], reading: Callable[[str], list[str]]) -> dict[str, list[int]]:
    table: dict[str, list[int]] = {}
    for place, label in enumerate(labels):
        for name in set(reading(label)):
            table.setdefault(name, []).append(place)
    return table


def _find(name: str, tables: Sequence[dict[str, list[int]]]) -> list[int]:
    exact, *folded = tables
    return exact.get(name) or next((t[_folded(name)] for t in folded if _folded(name) in t), [])


def _unknown(unknown: Sequence[str], labels: Sequence[str], model: str) -> str:
    spelled: dict[str, str] = {}
    for label in labels:
        for name in _synonyms(label):
            spelled.setdefault(name, label)
    said = []
    for name in unknown[:_NAMED]:
        close = get_close_matches(_folded(name), spelled, n=3, cutoff=0.7)
        like = f' (like {", ".join(repr(spelled[c]) for c in close)}?)' if close else ''
        said.append(f'{printable(name, 60)!r}{like}')
    more = f' and {len(unknown) - _NAMED} more' if len(unknown) > _NAMED else ''
    return (f"{len(unknown)} of the set's classes are no labels of {model}: {', '.join(said)}{more}; rename "
            'them, or leave them out')
