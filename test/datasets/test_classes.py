"""Class names of a set among the labels of a model."""

from __future__ import annotations

import pytest

from shufflenet_ros.datasets.classes import match_labels
from shufflenet_ros.datasets.errors import DatasetError

LABELS = ('tench, Tinca tinca', 'Egyptian cat', 'crane', 'drumstick', 'crane, machine', 'maillot',
          'maillot, tank suit', 'king snake, kingsnake', 'Cat')


@pytest.mark.parametrize(('name', 'index'), [
    ('crane', 2), ('Egyptian cat', 1), ('egyptian_cat', 1), ('EGYPTIAN  CAT', 1), ('tench', 0),
    ('tinca_tinca', 0), ('kingsnake', 7), ('maillot', 5), ('tank suit', 6), ('machine', 4), ('cat', 8),
    ('tench, Tinca tinca', 0), ('Crane', 2),
])
def test_equal_names_go_before_spellings_and_these_before_synonyms(name: str, index: int) -> None:
    assert match_labels([name], LABELS, 'model') == (index,)


def test_a_part_of_the_labels_is_enough_and_keeps_its_order() -> None:
    assert match_labels(['drumstick', 'tench', 'crane'], LABELS, 'model') == (3, 0, 2)


@pytest.mark.parametrize(('classes', 'said'), [
    (['egyptian_cats', 'drumstick'], "1 of the set's classes are no labels of model: 'egyptian_cats' "
                                     "(like 'Egyptian cat'?); rename them, or leave them out"),
    (['zzz'], "1 of the set's classes are no labels of model: 'zzz'; rename"),
    ([f'q{i}' for i in range(8)], 'and 3 more; rename'),
    (['tinca tinka'], "like 'tench, Tinca tinca'?"),
    (['cat', 'Cat'], "classes 'cat' and 'Cat' are both label 'Cat' of model: make them one"),
    (['a\x1b[31m'], r'a\\x1b[31m'),
])
def test_a_class_that_is_no_label_is_refused_with_close_names(classes: list[str], said: str) -> None:
    with pytest.raises(DatasetError) as error:
        match_labels(classes, LABELS, 'model')
    assert said in str(error.value)


def test_a_class_that_could_be_two_labels_is_refused() -> None:
    labels = ('crane, bird', 'crane, machine', 'other')
    with pytest.raises(DatasetError, match="'crane' could be any of 'crane, bird', 'crane, machine' of model"):
        match_labels(['crane'], labels, 'model')
    with pytest.raises(DatasetError, match="could be any of 'Cat', 'cat'"):
        match_labels(['CAT'], ('Cat', 'cat'), 'model')
