# SPDX-License-Identifier: Apache-2.0
"""Find the classes of a dataset among the labels of a model."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from difflib import get_close_matches

from shufflenet_ros.core.text import printable
from shufflenet_ros.datasets.errors import DatasetError

_SHOWN = 5  # in a message


def _normalized(name: str) -> str:
    return ' '.join(name.replace('_', ' ').casefold().split())


def _synonyms(label: str) -> list[str]:
    return [_normalized(part) for part in label.split(',')]


def match_labels(classes: Sequence[str], labels: Sequence[str], model: str) -> tuple[int, ...]:
    """The index in `labels` of each class.

    Equal names are preferred, then names that differ only in case, spaces and underscores, then one of the
    comma-separated synonyms in a label of ImageNet.

    Args:
        model: its name, for messages.

    Raises:
        DatasetError: a class that is not a label, or could be several; or two classes that are one label.
    """
    equal = _table(labels, lambda label: [label])
    similar = _table(labels, lambda label: [_normalized(label)])
    synonyms = _table(labels, _synonyms)
    matches = [equal.get(name) or similar.get(_normalized(name)) or synonyms.get(_normalized(name), [])
               for name in classes]
    if unknown := [name for name, indices in zip(classes, matches) if not indices]:
        raise DatasetError(_unknown(unknown, labels, model))
    class_of: dict[int, str] = {}
    for name, (index, *others) in zip(classes, matches):
        if others:
            candidates = ', '.join(repr(labels[i]) for i in [index, *others][:_SHOWN])
            raise DatasetError(f'class {name!r} could be any of {candidates} of {model}: rename it to one')
        if index in class_of:
            raise DatasetError(f'classes {class_of[index]!r} and {name!r} are both label '
                               f'{labels[index]!r} of {model}: merge them')
        class_of[index] = name
    return tuple(indices[0] for indices in matches)


def _table(labels: Sequence[str], spellings: Callable[[str], list[str]]) -> dict[str, list[int]]:
    table = defaultdict(list)
    for index, label in enumerate(labels):
        for name in set(spellings(label)):
            table[name].append(index)
    return table


def _unknown(unknown: Sequence[str], labels: Sequence[str], model: str) -> str:
    label_of = {name: label for label in reversed(labels) for name in _synonyms(label)}
    shown = []
    for name in unknown[:_SHOWN]:
        close = get_close_matches(_normalized(name), label_of, n=3, cutoff=0.7)
        like = f' (like {", ".join(repr(label_of[c]) for c in close)}?)' if close else ''
        shown.append(f'{printable(name, 60)!r}{like}')
    more = f' and {len(unknown) - _SHOWN} more' if len(unknown) > _SHOWN else ''
    return (f"{len(unknown)} of the dataset's classes are not labels of {model}: {', '.join(shown)}{more}; "
            'rename or remove them')
