# SPDX-License-Identifier: Apache-2.0
"""Datasets become arrays: the same from a tar, a folder and a bag; cached, split and checked."""

import os
import resource
import shutil
import tarfile
from collections import Counter

import numpy as np
import pytest
from labeled_datasets import write_labeled_bag
from training_set import write_set

pytest.importorskip('torch')

from shufflenet_ros.datasets.errors import DatasetError
from shufflenet_ros.training.data import load_dataset, load_datasets


@pytest.fixture
def folder(tiny_tar, tmp_path):
    shutil.unpack_archive(tiny_tar, tmp_path / 'folder')
    return tmp_path / 'folder'


def write_bag(path, files):
    return write_labeled_bag(path, [(file.parent.name, file.read_bytes()) for file in files])


def test_a_tar_is_read_once_and_then_from_the_file_beside_it(tiny_tar):
    first = load_dataset(tiny_tar, 'train', 32)
    assert first.images.shape == (72, 32, 32, 3) and first.images.dtype == np.uint8
    assert first.labels == ('blue', 'green', 'red') and sorted(set(first.targets)) == [0, 1, 2]
    for channel, target in enumerate((2, 1, 0)):  # RGB: the red images come last
        assert first.images[first.targets == target].mean((0, 1, 2)).argmax() == channel
    again = load_dataset(tiny_tar, 'train', 32)
    assert isinstance(again.images, np.memmap), 'it may be larger than the memory'
    assert np.array_equal(first.images, again.images) and first.labels == again.labels


def test_a_folder_and_a_labeled_bag_give_the_tars_images_and_cache_nothing(tiny_tar, folder, capsys):
    tar = load_dataset(tiny_tar, 'val', 32)
    files = sorted((folder / 'val').rglob('*.png'))
    bag = write_bag(folder.parent / 'bag', files)
    for other in (load_dataset(folder, 'val', 32), load_dataset(bag, '', 32)):
        assert np.array_equal(other.images, tar.images) and np.array_equal(other.targets, tar.targets)
        assert other.labels == tar.labels
    files[0].write_bytes(b'')
    fewer = load_dataset(folder, 'val', 32)
    assert np.array_equal(fewer.images, tar.images[1:]) and np.array_equal(fewer.targets, tar.targets[1:])
    assert 'val/blue/000.png skipped: ' in capsys.readouterr().err
    assert not list(folder.parent.rglob('*.np[yz]'))


def test_a_tar_that_changed_is_read_again_even_with_an_older_time(tmp_path):
    path = write_set(tmp_path / 'set.tar', train=2, val=2)
    assert len(load_dataset(path, 'val', 32).targets) == 6
    write_set(path, train=2, val=3)
    os.utime(path, (10**9, 10**9))
    assert len(load_dataset(path, 'val', 32).targets) == 9


def test_a_bad_image_in_a_tar_leaves_no_row(tmp_path):
    path = write_set(tmp_path / 'set.tar', train=2, val=2)
    with tarfile.open(path, 'a') as tar:
        tar.addfile(tarfile.TarInfo('val/blue/bad.png'))
    for _ in range(2):
        assert load_dataset(path, 'val', 32).images.shape == (6, 32, 32, 3)


def test_existing_splits_are_used(tiny_tar):
    train, val = load_datasets(tiny_tar, None, 32, store_px=40)
    assert train.images.shape == (72, 40, 40, 3) and val.images.shape == (24, 32, 32, 3)


@pytest.mark.parametrize('store_px', [0, 40])
def test_without_splits_the_last_fifth_of_each_class_validates(folder, store_px):
    train, val = load_datasets(folder / 'train', None, 32, store_px)
    whole = load_dataset(folder / 'train', '', 32)
    assert Counter(val.targets.tolist()) == {0: 4, 1: 4, 2: 4} and len(train.targets) == 60
    last = [i for target in range(3) for i in np.flatnonzero(whole.targets == target)[-4:]]
    assert np.array_equal(val.images, whole.images[np.sort(last)])
    assert train.images.shape[1] == (store_px or 32)


def test_a_labeled_bag_is_split_in_time(folder):
    files = [f for f in sorted((folder / 'train').rglob('*.png')) if int(f.stem) < 10]
    train, val = load_datasets(write_bag(folder.parent / 'bag', files), None, 32)
    last = load_dataset(folder / 'train', '', 32).images[[8, 9, 24 + 8, 24 + 9, 48 + 8, 48 + 9]]
    assert len(train.targets) == 24 and np.array_equal(val.images, last)


def test_another_dataset_validates_matched_by_class_names(folder, tiny_tar):
    (folder / 'train' / 'blue').rename(folder / 'train' / 'azure')  # sorted first as well
    (folder / 'val' / 'blue').rename(folder / 'val' / 'Azure')
    (folder / 'val' / 'green').rename(folder.parent / 'green')
    train, val = load_datasets(folder / 'train', folder / 'val', 32)
    assert train.labels == val.labels == ('azure', 'green', 'red')
    assert Counter(val.targets.tolist()) == {0: 8, 2: 8} and len(train.targets) == 72
    with pytest.raises(DatasetError, match='are not labels of the training set'):
        load_datasets(folder / 'train', tiny_tar, 32)


def test_one_class_and_an_empty_class_are_rejected(folder):
    for name in ('green', 'red'):
        for split in ('train', 'val'):
            (folder / split / name).rename(folder.parent / f'{split}_{name}')
    with pytest.raises(DatasetError, match="only the class 'blue'"):
        load_datasets(folder, None, 32)
    (folder / 'train' / 'a\nb').symlink_to(folder / 'train' / 'blue')
    with pytest.raises(DatasetError, match=r"class 'a\\nb' has control characters.*rename"):
        load_datasets(folder, None, 32)
    (folder / 'train' / 'a\nb').unlink()
    (folder.parent / 'val_red').rename(folder / 'val' / 'red')
    with pytest.raises(DatasetError, match="no training image of 'red'"):
        load_datasets(folder, None, 32)


def test_a_tar_whose_images_cannot_be_cached(tmp_path, monkeypatch):
    path = write_set(tmp_path / 'set.tar', train=2, val=2)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(DatasetError, match='no space for 18432 bytes.*move the tar'):
            load_dataset(path, 'val', 32)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == [path]

    def refuse(**_):
        raise PermissionError(13, 'Permission denied')  # root may write anywhere
    monkeypatch.setattr('tempfile.TemporaryDirectory', refuse)
    assert load_dataset(path, 'val', 32).images.shape == (6, 32, 32, 3) and list(tmp_path.iterdir()) == [path]


def test_data_that_cannot_validate(folder):
    with pytest.raises(DatasetError, match='is also the training data'):
        load_datasets(folder / 'train', folder / 'val' / '..' / 'train', 32)
    for file in sorted((folder / 'train' / 'red').iterdir())[1:]:
        file.unlink()
    with pytest.raises(DatasetError, match=r"class 'red' has 1 image: .*another dataset"):
        load_datasets(folder / 'train', None, 32)
