# SPDX-License-Identifier: Apache-2.0
"""Calibration images: balanced, the same on every machine, and the tensors that the bundle gets."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from labeled_datasets import write_folder, write_tar

from shufflenet_ros.bags.writer import BagWriter
from shufflenet_ros.core.card import CardInput
from shufflenet_ros.core.preprocess import preprocess
from shufflenet_ros.datasets.calibration import calibration_inputs, reference_inputs
from shufflenet_ros.datasets.errors import DatasetError
from shufflenet_ros.datasets.open_dataset import open_dataset

BYTES = CardInput('NHWC', 'uint8', (32, 32), 'rgb')
FLOATS = CardInput('NCHW', 'float32', (32, 32), 'rgb', scale=1 / 255, mean=(0.5,) * 3, std=(0.25,) * 3)


def images(counts: dict[str, int], split: str = '') -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    names = [f'{split}{name}/{i:03}.png' for name, count in counts.items() for i in range(count)]
    return {name: cv2.imencode('.png', rng.integers(0, 256, (40, 60, 3), np.uint8))[1].tobytes()
            for name in names}


@pytest.fixture
def files() -> dict[str, bytes]:
    return images({'blue': 30, 'green': 10, 'red': 20})


def test_classes_are_balanced_and_a_folder_and_a_tar_give_the_same_choice(
        tmp_path: Path, files: dict[str, bytes]) -> None:
    folder = write_folder(tmp_path / 'set', files)
    tar = write_tar(tmp_path / 'set.tar', dict(reversed(files.items())))
    one, other = calibration_inputs(folder, BYTES, 12), calibration_inputs(tar, BYTES, 12)
    assert Counter(one.targets.tolist()) == {0: 4, 1: 4, 2: 4} and one.names == other.names
    assert one.digest == other.digest == hashlib.sha256(one.inputs.tobytes()).hexdigest()
    # The same on every machine and in every release: a card names this choice by its seed.
    assert one.names[:3] == ('blue/019.png', 'red/015.png', 'green/008.png')
    assert hashlib.sha256('\n'.join(one.names).encode()).hexdigest()[:16] == '1ffaba8a2a66be0f'
    assert set(calibration_inputs(folder, BYTES, 12, seed=1).names) != set(one.names)
    assert set(calibration_inputs(folder, BYTES, 6).names) < set(one.names), 'the larger choice has all of it'


@pytest.mark.parametrize('spec', [BYTES, FLOATS], ids=['bytes', 'floats'])
def test_the_tensors_are_those_of_the_node(
        tmp_path: Path, files: dict[str, bytes], spec: CardInput) -> None:
    folder = write_folder(tmp_path / 'set', files)
    chosen = calibration_inputs(folder, spec, 9)
    expected = {sample.name: preprocess(sample.image(), spec) for sample in open_dataset(folder).samples()}
    assert chosen.inputs.shape == (9, *spec.shape[1:]) and chosen.inputs.dtype == spec.dtype
    for name, tensor in zip(chosen.names, chosen.inputs):
        assert np.array_equal(expected[name][0], tensor)


def test_only_training_images_are_chosen(tmp_path: Path) -> None:
    files = images({'a': 5, 'b': 5}, 'train/') | images({'a': 5, 'b': 5}, 'val/')
    folder = write_folder(tmp_path / 'set', files)
    chosen = calibration_inputs(folder, BYTES, 100)
    assert len(chosen.names) == 10 and all(name.startswith('train/') for name in chosen.names)
    other = calibration_inputs(folder, BYTES, 100, split='val')
    assert len(other.names) == 10 and all(name.startswith('val/') for name in other.names)
    (tmp_path / 'set' / 'val').rename(tmp_path / 'set' / 'test')
    assert calibration_inputs(folder, BYTES, 100).digest == chosen.digest, 'no split val is needed'
    (tmp_path / 'set' / 'train').rename(tmp_path / 'set' / 'val')
    with pytest.raises(DatasetError, match='no images in train/'):
        calibration_inputs(folder, BYTES, 10)
    with pytest.raises(DatasetError, match='no images in dev/'):
        calibration_inputs(folder, BYTES, 10, split='dev')


def test_other_classes_fill_up_for_a_small_one_and_a_small_dataset_gives_all(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / 'set', images({'a': 2, 'b': 30}))
    assert Counter(calibration_inputs(folder, BYTES, 10).targets.tolist()) == {0: 2, 1: 8}
    few = calibration_inputs(folder, BYTES, 1000)
    assert len(few.names) == len(few.inputs) == 32 and few.requested == 1000
    assert few.summary == ('set: 32 images of 2 classes (1000 requested), seed 0, '
                           f'sha256 {few.digest}')


def test_many_small_classes_still_give_the_requested_count(tmp_path: Path) -> None:
    counts = {f'{i:02}': 1 for i in range(16)} | {'y': 20, 'z': 20}
    chosen = calibration_inputs(write_folder(tmp_path / 'set', images(counts)), BYTES, 50)
    assert Counter(chosen.targets.tolist()) == dict.fromkeys(range(16), 1) | {16: 17, 17: 17}


def test_with_more_classes_than_images_the_choice_is_not_alphabetical(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / 'set', images({f'{i:02}': 2 for i in range(40)}))
    seen: set[int] = set()
    for seed in range(8):
        chosen = calibration_inputs(folder, BYTES, 10, seed).targets.tolist()
        assert len(set(chosen)) == 10 and max(chosen) >= 20
        seen.update(chosen)
    assert len(seen) > 30


def test_bad_images_are_counted_and_replaced(tmp_path: Path, files: dict[str, bytes]) -> None:
    folder = write_folder(tmp_path / 'set', files)
    best = calibration_inputs(folder, BYTES, 3)
    for name in best.names:
        (folder / name).write_bytes(b'')
    second = calibration_inputs(folder, BYTES, 3)
    assert second.unusable == 3 and Counter(second.targets.tolist()) == {0: 1, 1: 1, 2: 1}
    assert not set(second.names) & set(best.names) and '3 unusable images left out' in second.summary
    for file in folder.rglob('*.png'):
        file.write_bytes(b'no image')
    with pytest.raises(DatasetError, match='none of its 60 images can be used'):
        calibration_inputs(folder, BYTES, 3)


def test_a_labeled_bag_calibrates_too(tmp_path: Path, files: dict[str, bytes]) -> None:
    with BagWriter(tmp_path / 'bag') as bag:
        for i, data in enumerate(files.values()):
            bag.compressed('/camera', data, 'png', 10**18 + (i // 2) * 10**8)  # two frames at each time
    (tmp_path / 'bag.labels.yaml').write_text('- {topic: /camera, from_s: 0, to_s: 1.5, label: a}\n'
                                              '- {topic: /camera, from_s: 1.5, to_s: 3, label: b}\n')
    chosen = calibration_inputs(tmp_path / 'bag', BYTES, 20)
    assert Counter(chosen.targets.tolist()) == {0: 10, 1: 10}
    assert chosen.digest == calibration_inputs(tmp_path / 'bag', BYTES, 20).digest


def test_a_count_below_1_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match='0 calibration images: expected at least 1'):
        calibration_inputs(tmp_path, BYTES, 0)
    with pytest.raises(DatasetError, match='-1 calibration images: expected at least 1'):
        reference_inputs(BYTES, -1)


def test_without_a_dataset_there_are_seeded_images() -> None:
    one = reference_inputs(FLOATS, 8)
    assert one.inputs.shape == (8, 3, 32, 32) and one.digest == reference_inputs(FLOATS, 8).digest
    assert one.digest != reference_inputs(FLOATS, 8, seed=1).digest
    assert one.summary == f'synthetic: 8 images, seed 0, sha256 {one.digest}'
    assert one.inputs.std() > 0.3 and one.inputs.min() >= -2 and one.inputs.max() <= 2
