# SPDX-License-Identifier: Apache-2.0
"""A dataset without splits: the end of each class is held out and never trained on."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from labeled_datasets import encoded, write_folder, write_labeled_bag, write_tar

from shufflenet_ros.datasets.errors import DatasetError
from shufflenet_ros.datasets.holdout import HELD_OUT, holdout_split
from shufflenet_ros.datasets.open_dataset import open_dataset


@pytest.fixture
def files() -> dict[str, bytes]:
    counts = {'red': 10, 'green': 4, 'blue': 2}
    return {f'{name}/{i:03}.png': encoded(name)
            for name, count in counts.items() for i in range(count)}


@pytest.mark.parametrize('kind', ['folder', 'tar', 'bag'])
def test_the_last_fifth_of_each_class_at_least_one(
        tmp_path: Path, files: dict[str, bytes], kind: str) -> None:
    path = tmp_path / f'set.{kind}'
    if kind == 'bag':
        write_labeled_bag(path, ((name.split('/')[0], data) for name, data in files.items()))
    else:
        (write_folder if kind == 'folder' else write_tar)(path, files)
    whole = open_dataset(path)
    training, held_out = holdout_split(whole)
    names = [sample.name for sample in whole.samples()]
    assert whole.targets == tuple(sample.target for sample in whole.samples()) and whole.names == tuple(names)
    assert [sample.name for sample in whole.samples_at({0, 5})] == [names[0], names[5]]
    last = {'red': 2, 'green': 1, 'blue': 1}
    expected = []
    for label, count in last.items():
        indices = [i for i, target in enumerate(whole.targets) if whole.labels[target] == label]
        expected += indices[-count:]
    assert [s.name for s in held_out.samples()] == [names[i] for i in sorted(expected)]
    assert sorted(s.name for part in (training, held_out) for s in part.samples()) == sorted(names)
    assert held_out.split == HELD_OUT and held_out.count == 4 and training.count == 12
    assert Counter(held_out.targets) == Counter(s.target for s in held_out.samples())
    assert held_out.names == tuple(s.name for s in held_out.samples())
    assert [s.name for s in held_out.samples(limit=2)] == [held_out.names[0], held_out.names[2]]
    assert held_out.labels == whole.labels


def test_a_class_of_one_and_a_dataset_with_splits_are_errors(tmp_path: Path, files: dict[str, bytes]) -> None:
    del files['blue/000.png']
    with pytest.raises(DatasetError, match="class 'blue' has 1 image: expected at least 2"):
        holdout_split(open_dataset(write_folder(tmp_path / 'one', files)))
    split = {f'{part}/{name}': data for name, data in files.items() for part in ('train', 'val')}
    with pytest.raises(DatasetError, match='has splits of its own'):
        holdout_split(open_dataset(write_folder(tmp_path / 'split', split)))


def test_a_tar_is_split_by_name_in_whatever_order_it_was_packed(tmp_path: Path) -> None:
    names = [f'red/frame_{i}.png' for i in range(1, 13)]
    packed = {name: encoded('red') for name in sorted(names, reverse=True)}
    for path in (write_tar(tmp_path / 's.tar', packed), write_folder(tmp_path / 's', packed)):
        held = {sample.name for sample in holdout_split(open_dataset(path))[1].samples()}
        assert held == {'red/frame_11.png', 'red/frame_12.png'}
