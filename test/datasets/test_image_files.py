# SPDX-License-Identifier: Apache-2.0
"""Folders and tars give the same images, and report all that they leave out."""

from __future__ import annotations

import gzip
import itertools
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from labeled_datasets import FLAT, SPLIT, encoded, write_folder, write_tar

from shufflenet_ros.core.reasons import DropReason, FrameError
from shufflenet_ros.datasets import image_files, tar
from shufflenet_ros.datasets.errors import DatasetError
from shufflenet_ros.datasets.image_files import FileImage, PixelImage
from shufflenet_ros.datasets.labeled_dataset import LabeledDataset, evenly_spaced
from shufflenet_ros.datasets.open_dataset import open_dataset

Make = Callable[[Path, dict[str, bytes]], Path]


@pytest.fixture(params=['folder', 'tar', 'tar.gz'])
def make(request: pytest.FixtureRequest) -> Make:
    """Write files as a dataset of each kind."""
    if request.param == 'folder':
        return lambda root, files: write_folder(root / 'set', files)
    mode = 'w:gz' if request.param == 'tar.gz' else 'w'
    return lambda root, files: write_tar(root / f'set.{request.param}', files, mode)


def colors(dataset: LabeledDataset) -> dict[str, str]:
    """Name of each sample -> the label of its color."""
    found = {}
    for sample in dataset.samples():
        image = sample.image()
        channel = int(image.pixels.mean((0, 1)).argmax())
        found[sample.name] = ('blue', 'green', 'red')[channel if image.color == 'bgr' else 2 - channel]
        assert dataset.labels[sample.target] == found[sample.name]
    return found


def test_classes_without_splits(tmp_path: Path, make: Make) -> None:
    others = {'README.md': b'x', 'green/notes.txt': b'x', 'top.png': b'', 'a/b/c/deep.png': b''}
    dataset = open_dataset(make(tmp_path, FLAT | others))
    assert (dataset.labels, dataset.count, dataset.split) == (('green', 'red'), 6, '')
    assert dict(dataset.left_out) == {'images at another depth': 2}
    assert list(colors(dataset)) == list(FLAT)
    assert colors(dataset) == {name: name.split('/')[0] for name in FLAT}


@pytest.mark.parametrize(('split', 'opened'), [('', 'val'), ('val', 'val'), ('train', 'train')])
def test_splits_share_one_list_of_labels(tmp_path: Path, make: Make, split: str, opened: str) -> None:
    dataset = open_dataset(str(make(tmp_path, SPLIT)), split)
    assert (dataset.labels, dataset.split) == (('blue', 'green', 'red'), opened)
    files = [name for name in SPLIT if name.startswith(opened)]
    assert dataset.count == len(files)
    assert colors(dataset) == {name: name.split('/')[1] for name in files}
    for sample in dataset.samples():  # JPEG and PNG are decoded like a camera's
        assert isinstance(sample.message, PixelImage if sample.name.endswith('webp') else FileImage)


def reasons(dataset: LabeledDataset) -> dict[str, DropReason]:
    """Name of each sample that cannot be decoded -> the reason."""
    found = {}
    for sample in dataset.samples():
        try:
            sample.image()
        except FrameError as error:
            found[sample.name] = error.reason
    return found


def test_images_that_cannot_be_decoded_are_samples_with_a_reason(tmp_path: Path, make: Make) -> None:
    bad = {'red/truncated.png': encoded('red')[:40], 'red/empty.png': b'',
           'red/noise.webp': b'RIFF....WEBPxx', 'red/text.bmp': b'hello'}
    dataset = open_dataset(make(tmp_path, FLAT | bad))
    found = reasons(dataset)
    assert dataset.count == 10 and set(found) == set(bad)
    assert set(found.values()) <= {DropReason.TRUNCATED, DropReason.BAD_FORMAT}


def test_an_image_over_the_limit_is_not_read(
        tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(tmp_path, FLAT | {'red/large.png': b'x' * 5000})
    for module in (image_files, tar):
        monkeypatch.setattr(module, 'MAX_FILE_BYTES', 4096)
    assert reasons(open_dataset(path)) == {'red/large.png': DropReason.TOO_LARGE}


def test_a_limit_is_spread_evenly(tmp_path: Path, make: Make) -> None:
    dataset = open_dataset(make(tmp_path, FLAT))
    assert [sample.name for sample in dataset.samples(2)] == ['green/0.png', 'red/0.png']
    assert len(list(dataset.samples(5))) == 5 and len(list(dataset.samples(99))) == 6
    for count, limit in itertools.product(range(1, 30), range(1, 40)):
        indices = evenly_spaced(count, limit)
        assert len(set(indices)) == min(count, limit) and max(indices) < count


@pytest.mark.parametrize(('files', 'split', 'expected'), [
    ({}, '', 'found no images as <class>/<image> or'),
    ({'a.png': b'', 'x/y/z/w.png': b''}, '', 'found no images as <class>/<image> or'),
    ({'a/x.png': b'', 'val/a/x.png': b''}, '', '1 images are in <class>/<image> and 1 in <split>/'),
    ({'a/x.png': b''}, 'val', 'no images in val/<class>/: it has no splits'),
    ({'train/a/x.png': b'', 'test/a/x.png': b''}, '',
     'no images in val/<class>/; expected one of its splits: test, train'),
    ({'train/a/x.png': b''}, 'dev', 'no images in dev/<class>/; expected one of its splits: train'),
])
def test_a_layout_that_is_not_a_dataset_is_an_error(
        tmp_path: Path, make: Make, files: dict[str, bytes], split: str, expected: str) -> None:
    (tmp_path / 'set').mkdir()
    with pytest.raises(DatasetError) as error:
        open_dataset(make(tmp_path, files), split)
    assert expected in str(error.value) and str(tmp_path / 'set') in str(error.value)


@pytest.mark.parametrize(('name', 'data', 'expected'), [
    ('nowhere', None, 'does not exist: expected a folder or tar of <class>/<image>'),
    ('notes.txt', b'x',
     'expected a folder, a file that ends in .tar, .tar.gz, .tgz, or a bag with <bag>.labels'),
    ('no.tar', b'x' * 2000, 'cannot be read as a tar'),
    ('no.tar.gz', b'\x1f\x8bxx', 'cannot be read as a tar'),
    ('empty.tar', b'', 'cannot be read as a tar'),
])
def test_a_path_that_is_not_a_dataset_is_an_error(
        tmp_path: Path, name: str, data: bytes | None, expected: str) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(DatasetError) as error:
        open_dataset(tmp_path / name)
    assert expected in str(error.value) and name in str(error.value)


def test_links_are_followed_and_broken_links_and_fifos_are_reported(tmp_path: Path) -> None:
    source = write_folder(tmp_path / 'source', FLAT)
    (tmp_path / 'set' / 'red').mkdir(parents=True)
    os.symlink(source / 'green', tmp_path / 'set' / 'green')
    os.symlink(source / 'red' / '0.png', tmp_path / 'set' / 'red' / 'linked.png')
    os.symlink(tmp_path / 'nowhere.png', tmp_path / 'set' / 'red' / 'broken.png')
    os.symlink(tmp_path / 'set', tmp_path / 'set' / 'red' / 'loop')
    os.mkfifo(tmp_path / 'set' / 'red' / 'pipe.png')
    dataset = open_dataset(tmp_path / 'set')
    assert set(reasons(dataset)) == {'red/broken.png', 'red/pipe.png'} and dataset.count == 6


def test_names_with_dots_and_later_copies_in_a_tar(tmp_path: Path) -> None:
    path = tmp_path / 'set.tar'
    with tarfile.open(path, 'w') as archive:
        archive.add(write_folder(tmp_path / 'source', FLAT), '.')
    with tarfile.open(path, 'a') as archive:
        archive.add(tmp_path / 'source' / 'red' / '1.png', './green/0.png')
    dataset = open_dataset(path)
    assert dataset.count == 6 and dict(dataset.left_out) == {}
    # The last of several members with one name counts, as in unpacking: here a red image in green.
    found = {sample.name: sample.image().pixels[0, 0].tolist() for sample in dataset.samples()}
    assert found['green/0.png'] == [0, 0, 255] and found['green/1.png'] == [0, 255, 0]


def test_hostile_members_are_left_out_and_counted(tmp_path: Path) -> None:
    path = write_tar(tmp_path / 'set.tar', FLAT | {
        '../red/up.png': b'x', 'red/../../up.png': b'x', '/red/root.png': b'x'})
    with tarfile.open(path, 'a') as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
            info = tarfile.TarInfo(f'red/{kind.decode()}.png')
            info.type, info.linkname = kind, '/etc/passwd'
            archive.addfile(info)
    before = set(tmp_path.parent.rglob('*'))
    dataset = open_dataset(path)
    assert dict(dataset.left_out) == {'links and unsafe names': 7}
    assert list(colors(dataset)) == list(FLAT)
    assert set(tmp_path.parent.rglob('*')) == before, 'something was unpacked'


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """A tar header that claims this size (GNU base 256 where it does not fit in octal)."""
    info = tarfile.TarInfo(name)
    info.type = kind
    made = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
    made[124:136] = size.to_bytes(12, 'big', signed=True) if size < 0 else b'\x80' + size.to_bytes(11, 'big')
    made[148:156] = b' ' * 8
    made[148:156] = f'{sum(made):06o}\0 '.encode()
    return bytes(made)


@pytest.mark.parametrize('packed', [False, True])
@pytest.mark.parametrize(('what', 'head', 'expected'), [
    ('an image of 8 GiB', header('red/huge.png', 8 << 30), 'cannot be read as a tar'),
    ('a name of 8 GiB', header('././@LongLink', 8 << 30, tarfile.GNUTYPE_LONGNAME), 'a header of'),
    ('attributes of 8 GiB', header('pax', 8 << 30, tarfile.XHDTYPE), 'a header of'),
    # Newer Pythons find this themselves, and call the member damaged.
    ('a negative size', header('red/back.png', -2048), 'again'),
    ('a name of negative length', header('././@LongLink', -512, tarfile.GNUTYPE_LONGNAME), 'set.tar'),
])
def test_hostile_headers_cost_neither_memory_nor_time(
        tmp_path: Path, packed: bool, what: str, head: bytes, expected: str) -> None:
    members = write_tar(tmp_path / 'set.tar', FLAT).read_bytes().rstrip(b'\0')
    data = members + b'\0' * (-len(members) % 512) + head + b'\0' * 2048
    path = tmp_path / ('set.tar.gz' if packed else 'set.tar')
    path.write_bytes(gzip.compress(data) if packed else data)
    with pytest.raises(DatasetError) as error:
        open_dataset(path)
    assert expected in str(error.value) and 'set.tar' in str(error.value)


@pytest.mark.parametrize('packed', [False, True])
def test_a_truncated_or_damaged_tar_is_an_error(tmp_path: Path, packed: bool) -> None:
    whole = write_tar(tmp_path / 'set.tar', FLAT).read_bytes()
    path = tmp_path / ('set.tar.gz' if packed else 'set.tar')
    end = len(whole.rstrip(b'\0'))
    truncated = [gzip.compress(whole[:cut]) if packed else whole[:cut] for cut in range(1, end, 200)]
    if packed:
        data = gzip.compress(whole)
        truncated += [data[:cut] for cut in range(1, len(data), 20)]
    for data in truncated:
        path.write_bytes(data)
        with pytest.raises(DatasetError):
            open_dataset(path)
    for member in range(1, 6):  # tarfile alone would take a bad header for the end
        damaged = bytearray(whole)
        damaged[1024 * member + 10] ^= 1
        path.write_bytes(gzip.compress(damaged) if packed else damaged)
        with pytest.raises(DatasetError, match='damaged or truncated after member'):
            open_dataset(path)


def test_a_tar_that_changes_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    path = write_tar(tmp_path / 'set.tar', FLAT)
    dataset = open_dataset(path)
    for files, problem in ((dict(reversed(FLAT.items())), 'member 0 was'),
                           (dict(itertools.islice(FLAT.items(), 4)), '2 members are gone')):
        write_tar(path, files)
        with pytest.raises(DatasetError, match=f'{problem}.*; do not change the tar while it is read'):
            list(dataset.samples())


def test_alpha_is_ignored_as_in_core(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / 'a').mkdir()
    pixels = rng.integers(0, 256, (20, 30, 4), np.uint8)
    cv2.imwrite(str(tmp_path / 'a' / 'alpha.tiff'), pixels)
    (sample,) = open_dataset(tmp_path).samples()
    assert np.array_equal(sample.image().pixels, pixels[:, :, :3])
