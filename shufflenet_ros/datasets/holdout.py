# SPDX-License-Identifier: Apache-2.0
"""Split a dataset without its own splits into a training and a validation subset.

Validation gets the last fifth of each class, in order of names (2 before 10) or, in a bag, of time.
Neighboring frames of a video are nearly the same image, so a random fifth would test nothing.
"""

import re
from collections import defaultdict

from shufflenet_ros.bags.kinds import is_bag
from shufflenet_ros.core.text import printable
from shufflenet_ros.datasets.errors import DatasetError
from shufflenet_ros.datasets.labeled_dataset import LabeledDataset

ONE_IN = 5
HELD_OUT = 'held out'


def holdout_split(dataset: LabeledDataset) -> tuple[LabeledDataset, LabeledDataset]:
    """The training subset, and the subset that is held out for validation.

    Raises:
        DatasetError: the dataset has splits of its own, or a class has fewer than two samples.
    """
    if dataset.split:
        raise DatasetError(f'{dataset.path}: has splits of its own: expected a dataset without; use its '
                           'split val')
    # A bag's frames are in order of time; a tar may have its files in any order.
    order = range(dataset.count) if is_bag(dataset.path) else sorted(
        range(dataset.count), key=lambda i: _natural_order(dataset.names[i]))
    by_class: dict[int, list[int]] = defaultdict(list)
    for i in order:
        by_class[dataset.targets[i]].append(i)
    held_out: set[int] = set()
    for target, indices in by_class.items():
        if len(indices) < 2:
            label = printable(dataset.labels[target])
            raise DatasetError(f'{dataset.path}: class {label!r} has 1 image: expected at least 2, as one is '
                               'held out for validation; add some, or use another dataset for validation')
        held_out.update(indices[-max(1, len(indices) // ONE_IN):])
    training = [i for i in range(dataset.count) if i not in held_out]
    return dataset.subset(training, 'all but what is held out'), dataset.subset(sorted(held_out), HELD_OUT)


def _natural_order(name: str) -> list[tuple[int, str]]:
    """A sort key that puts frame_2 before frame_10."""
    return [(int(part) if part.isdecimal() else -1, part) for part in re.split(r'(\d+)', name)]
