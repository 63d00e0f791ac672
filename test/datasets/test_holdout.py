"""What is held out of a set without splits: the end of each class, never a part of what is learned."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import labeled_datasets
import pytest

from shufflenet_ros.bags.writer import BagWriter
from shufflenet_ros.datasets.errors import DatasetError
from shufflenet_ros.datasets.holdout import HELD_OUT, holdout_split
from shufflenet_ros.datasets.open import open_set


@pytest.fixture
def files() -> dict[str, bytes]:
    counts = {'red': 10, 'green': 4, 'blue': 2}
    return {f'{name}/{i:03}.png': labeled_datasets.encoded(name)
            for name, count in counts.items() for i in range(count)}


@pytest.mark.parametrize('kind', ['folder', 'tar', 'bag'])
def test_the_last_fifth_of_each_class_at_least_one(tmp_path: Path, files: dict[str, bytes], kind: str) -> None:
    path = tmp_path / f'set.{kind}'
    if kind == 'bag':
        with BagWriter(path) as bag:
            for i, data in enumerate(files.values()):
                bag.compressed('/camera', data, 'png', 10**18 + i * 10**8)
        entries = [{'topic': '/camera', 'from_s': i / 10, 'to_s': (i + 1) / 10, 'label': name.split('/')[0]}
                   for i, name in enumerate(files)]
        path.with_name('set.bag.labels.yaml').write_text(json.dumps(entries))
    else:
        (labeled_datasets.write_folder if kind == 'folder' else labeled_datasets.write_tar)(path, files)
    whole = open_set(path)
    learned, held_out = holdout_split(whole)
    names = [sample.name for sample in whole.samples()]
    assert whole.targets == tuple(sample.target for sample in whole.samples()) and whole.names == tuple(names)
    assert [sample.name for sample in whole.at({0, 5})] == [names[0], names[5]]
    last = {'red': 2, 'green': 1, 'blue': 1}
    expected = []
    for label, count in last.items():
        places = [i for i, target in enumerate(whole.targets) if whole.labels[target] == label]
        expected += places[-count:]
    assert [s.name for s in held_out.samples()] == [names[i] for i in sorted(expected)]
    assert sorted([s.name for s in learned.samples()] + [s.name for s in held_out.samples()]) == sorted(names)
    assert held_out.split == HELD_OUT and held_out.count == 4 and learned.count == 12
    assert Counter(held_out.targets) == Counter(s.target for s in held_out.samples())
    assert held_out.names == tuple(s.name for s in held_out.samples())
    assert [s.name for s in held_out.samples(limit=2)] == [held_out.names[0], held_out.names[2]]
    assert held_out.labels == whole.labels


def test_a_class_of_one_and_a_set_with_splits_are_refused(tmp_path: Path, files: dict[str, bytes]) -> None:
    del files['blue/000.png']
    with pytest.raises(DatasetError, match="class 'blue' has 1 image: expected at least 2"):
        holdout_split(open_set(labeled_datasets.write_folder(tmp_path / 'one', files)))
    split = {f'{part}/{name}': data for name, data in files.items() for part in ('train', 'val')}
    with pytest.raises(DatasetError, match='has splits of its own'):
        holdout_split(open_set(labeled_datasets.write_folder(tmp_path / 'split', split)))


def test_a_tar_is_cut_by_name_however_it_was_packed(tmp_path: Path) -> None:
    names = [f'red/frame_{i}.png' for i in range(1, 13)]
    packed = {name: labeled_datasets.encoded('red') for name in sorted(names, reverse=True)}
    tar, folder = labeled_datasets.write_tar(tmp_path / 's.tar', packed), labeled_datasets.write_folder(tmp_path / 's', packed)
    for path in (tar, folder):
        held = {sample.name for sample in holdout_split(open_set(path))[1].samples()}
        assert held == {'red/frame_11.png', 'red/frame_12.png'}
