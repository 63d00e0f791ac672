# SPDX-License-Identifier: Apache-2.0
"""Classes of a dataset among the labels of a model."""

from __future__ import annotations

import pytest

from shufflenet_ros.datasets.errors import DatasetError
from shufflenet_ros.datasets.match_labels import match_labels

LABELS = ('tench, Tinca tinca', 'Egyptian cat', 'crane', 'drumstick', 'crane, machine', 'maillot',
          'maillot, tank suit', 'king snake, kingsnake', 'Cat')


@pytest.mark.parametrize(('name', 'index'), [
    ('crane', 2), ('Egyptian cat', 1), ('egyptian_cat', 1), ('EGYPTIAN  CAT', 1), ('tench', 0),
    ('tinca_tinca', 0), ('kingsnake', 7), ('maillot', 5), ('tank suit', 6), ('machine', 4), ('cat', 8),
    ('tench, Tinca tinca', 0), ('Crane', 2),
])
def test_equal_names_match_before_spellings_and_these_before_synonyms(name: str, index: int) -> None:
    assert match_labels([name], LABELS, 'model') == (index,)


def test_some_labels_are_enough_and_keep_their_order() -> None:
    assert match_labels(['drumstick', 'tench', 'crane'], LABELS, 'model') == (3, 0, 2)


@pytest.mark.parametrize(('classes', 'labels', 'expected'), [
    (['egyptian_cats', 'drumstick'], LABELS, "1 of the dataset's classes are not labels of model: "
                                             "'egyptian_cats' (like 'Egyptian cat'?); rename or remove them"),
    (['zzz'], LABELS, "1 of the dataset's classes are not labels of model: 'zzz'; rename"),
    ([f'q{i}' for i in range(8)], LABELS, 'and 3 more; rename'),
    (['tinca tinka'], LABELS, "like 'tench, Tinca tinca'?"),
    (['cat', 'Cat'], LABELS, "classes 'cat' and 'Cat' are both label 'Cat' of model: merge them"),
    (['a\x1b[31m'], LABELS, r'a\\x1b[31m'),
    (['crane'], ('crane, bird', 'crane, machine', 'other'),
     "'crane' could be any of 'crane, bird', 'crane, machine' of model"),
    (['CAT'], ('Cat', 'cat'), "could be any of 'Cat', 'cat'"),
])
def test_a_class_without_one_label_is_an_error_with_close_names(
        classes: list[str], labels: tuple[str, ...], expected: str) -> None:
    with pytest.raises(DatasetError) as error:
        match_labels(classes, labels, 'model')
    assert expected in str(error.value)
