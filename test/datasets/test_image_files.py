"""Folders and tars: the same images, whatever they lie in, and nothing left out in silence."""

from __future__ import annotations

import gzip
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import labeled_datasets
import numpy as np
import pytest

from shufflenet_ros.core.decode import decode
from shufflenet_ros.core.reasons import FrameError, Reason
from shufflenet_ros.datasets import image_files, tar
from shufflenet_ros.datasets.errors import DatasetError
from shufflenet_ros.datasets.image_files import FileImage, PixelImage
from shufflenet_ros.datasets.open import open_set
from shufflenet_ros.datasets.sample import LabeledDataset, spread

Make = Callable[[Path, dict[str, bytes]], Path]


@pytest.fixture(params=['folder', 'tar', 'tar.gz'])
def make(request: pytest.FixtureRequest) -> Make:
    """Put files into a set of each kind."""
    if request.param == 'folder':
        return lambda root, files: labeled_datasets.write_folder(root / 'set', files)
    mode = 'w:gz' if request.param == 'tar.gz' else 'w'
    return lambda root, files: labeled_datasets.write_tar(root / f'set.{request.param}', files, mode)


def colors(dataset: LabeledDataset) -> dict[str, str]:
    """Name of each sample -> the label that its pixels have."""
    found = {}
    for sample in dataset.samples():
        image = decode(sample.message, 10_000)
        channel = int(image.pixels.mean((0, 1)).argmax())
        found[sample.name] = ('blue', 'green', 'red')[channel if image.color == 'bgr' else 2 - channel]
        assert dataset.labels[sample.target] == found[sample.name]
    return found


def test_classes_without_splits(tmp_path: Path, make: Make) -> None:
    dataset = open_set(make(tmp_path, labeled_datasets.FLAT | {'README.md': b'x', 'green/notes.txt': b'x'}))
    assert (dataset.labels, dataset.count, dataset.split) == (('green', 'red'), 6, '')
    assert dict(dataset.left_out) == {}
    assert list(colors(dataset)) == list(labeled_datasets.FLAT)
    assert colors(dataset) == {name: name.split('/')[0] for name in labeled_datasets.FLAT}


@pytest.mark.parametrize(('split', 'taken'), [('', 'val'), ('val', 'val'), ('train', 'train')])
def test_splits_share_one_list_of_labels(
        tmp_path: Path, make: Make, split: str, taken: str) -> None:
    dataset = open_set(str(make(tmp_path, labeled_datasets.SPLIT)), split)
    assert (dataset.labels, dataset.split) == (('blue', 'green', 'red'), taken)
    files = [name for name in labeled_datasets.SPLIT if name.startswith(taken)]
    assert dataset.count == len(files)
    assert colors(dataset) == {name: name.split('/')[1] for name in files}


def test_jpeg_and_png_go_the_compressed_way_and_webp_the_raw_one(
        tmp_path: Path, make: Make) -> None:
    for sample in open_set(make(tmp_path, labeled_datasets.SPLIT)).samples():
        kind = PixelImage if sample.name.endswith('webp') else FileImage
        assert isinstance(sample.message, kind)


def test_images_that_cannot_be_decoded_are_samples_that_say_so(
        tmp_path: Path, make: Make) -> None:
    bad = {'red/cut.png': labeled_datasets.encoded('red')[:40], 'red/empty.png': b'',
           'red/noise.webp': b'RIFF....WEBPxx', 'red/text.bmp': b'hello'}
    dataset = open_set(make(tmp_path, labeled_datasets.FLAT | bad))
    assert dataset.count == 10
    ends = {}
    for sample in dataset.samples():
        try:
            if isinstance(sample.message, FrameError):
                raise sample.message
            decode(sample.message, 10_000)
        except FrameError as dropped:
            ends[sample.name] = dropped.reason
    assert set(ends) == set(bad) and set(ends.values()) <= {Reason.TRUNCATED, Reason.BAD_FORMAT}


def test_a_limit_is_spread_over_the_whole(tmp_path: Path, make: Make) -> None:
    dataset = open_set(make(tmp_path, labeled_datasets.FLAT))
    assert [sample.name for sample in dataset.samples(2)] == ['green/0.png', 'red/0.png']
    assert len(list(dataset.samples(5))) == 5 and len(list(dataset.samples(99))) == 6
    for count in range(1, 30):
        for limit in range(1, 40):
            assert len(spread(count, limit)) == min(count, limit) and max(spread(count, limit)) < count


@pytest.mark.parametrize(('files', 'split', 'said'), [
    ({}, '', 'it has no images as <class>/<image> or'),
    ({'a.png': b'', 'x/y/z/w.png': b''}, '', 'it has no images as <class>/<image> or'),
    ({'a/x.png': b'', 'val/a/x.png': b''}, '', '1 images lie as <class>/<image> and 1 as <split>/'),
    ({'a/x.png': b''}, 'val', 'no image under val/<class>/: it has no splits'),
    ({'train/a/x.png': b'', 'test/a/x.png': b''}, '',
     'no image under val/<class>/; its splits are test, train'),
    ({'train/a/x.png': b''}, 'dev', 'no image under dev/<class>/; its splits are train'),
])
def test_a_set_that_is_none_is_refused(
        tmp_path: Path, make: Make, files: dict[str, bytes], split: str, said: str) -> None:
    (tmp_path / 'set').mkdir()
    with pytest.raises(DatasetError) as error:
        open_set(make(tmp_path, files), split)
    assert said in str(error.value) and str(tmp_path / 'set') in str(error.value)


def test_images_at_another_depth_are_counted(tmp_path: Path, make: Make) -> None:
    dataset = open_set(make(tmp_path, labeled_datasets.FLAT | {'top.png': b'', 'a/b/c/deep.png': b''}))
    assert dict(dataset.left_out) == {'images at another depth': 2} and dataset.count == 6


@pytest.mark.parametrize(('name', 'said'), [
    ('nowhere', 'does not exist: give a folder or tar of <class>/<image>'),
    ('notes.txt', 'expected a folder, a file that ends in .tar, .tar.gz, .tgz, or a bag with <bag>.labels'),
    ('no.tar', 'cannot be read as a tar'),
    ('no.tar.gz', 'cannot be read as a tar'),
    ('empty.tar', 'cannot be read as a tar'),
])
def test_a_path_that_is_no_set_is_refused(tmp_path: Path, name: str, said: str) -> None:
    files = {'notes.txt': b'x', 'no.tar': b'x' * 2000, 'no.tar.gz': b'\x1f\x8bxx', 'empty.tar': b''}
    for file, data in files.items():
        (tmp_path / file).write_bytes(data)
    with pytest.raises(DatasetError) as error:
        open_set(tmp_path / name)
    assert said in str(error.value) and name in str(error.value)


def test_links_in_a_folder_are_followed_and_broken_or_odd_ones_are_reported(
        tmp_path: Path) -> None:
    source = labeled_datasets.write_folder(tmp_path / 'source', labeled_datasets.FLAT)
    (tmp_path / 'set' / 'red').mkdir(parents=True)
    os.symlink(source / 'green', tmp_path / 'set' / 'green')
    os.symlink(source / 'red' / '0.png', tmp_path / 'set' / 'red' / 'linked.png')
    os.symlink(tmp_path / 'nowhere.png', tmp_path / 'set' / 'red' / 'broken.png')
    os.symlink(tmp_path / 'set', tmp_path / 'set' / 'red' / 'loop')
    os.mkfifo(tmp_path / 'set' / 'red' / 'pipe.png')
    dataset = open_set(tmp_path / 'set')
    ends = {sample.name: isinstance(sample.message, FrameError) for sample in dataset.samples()}
    assert {name for name, dropped in ends.items() if dropped} == {'red/broken.png', 'red/pipe.png'}
    assert len(ends) == dataset.count == 6


def test_tars_made_by_people_have_dots_and_later_copies(tmp_path: Path) -> None:
    path = tmp_path / 'set.tar'
    with tarfile.open(path, 'w') as archive:
        archive.add(labeled_datasets.write_folder(tmp_path / 'source', labeled_datasets.FLAT), '.')
    with tarfile.open(path, 'a') as archive:
        archive.add(tmp_path / 'source' / 'red' / '1.png', './green/0.png')
    dataset = open_set(path)
    assert dataset.count == 6 and dict(dataset.left_out) == {}
    # Of one name the last counts, as in unpacking: now a red image under green.
    found = {sample.name: decode(sample.message, 10_000).pixels[0, 0].tolist()
             for sample in dataset.samples()}
    assert found['green/0.png'] == [0, 0, 255] and found['green/1.png'] == [0, 255, 0]


def test_hostile_members_are_left_out_and_counted(tmp_path: Path) -> None:
    path = labeled_datasets.write_tar(tmp_path / 'set.tar', labeled_datasets.FLAT | {
        '../red/up.png': b'x', 'red/../../up.png': b'x', '/red/root.png': b'x'})
    with tarfile.open(path, 'a') as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
            info = tarfile.TarInfo(f'red/{kind.decode()}.png')
            info.type, info.linkname = kind, '/etc/passwd'
            archive.addfile(info)
    before = set(tmp_path.parent.rglob('*'))
    dataset = open_set(path)
    assert dict(dataset.left_out) == {'links and strange names': 7}
    assert list(colors(dataset)) == list(labeled_datasets.FLAT)
    assert set(tmp_path.parent.rglob('*')) == before, 'something was unpacked'


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """A tar header that claims this size (GNU base 256 where it is no octal number)."""
    info = tarfile.TarInfo(name)
    info.type = kind
    made = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
    made[124:136] = size.to_bytes(12, 'big', signed=True) if size < 0 else b'\x80' + size.to_bytes(11, 'big')
    made[148:156] = b' ' * 8
    made[148:156] = f'{sum(made):06o}\0 '.encode()
    return bytes(made)


@pytest.mark.parametrize('packed', [False, True])
@pytest.mark.parametrize(('what', 'head', 'said'), [
    ('an image of 8 GiB', header('red/huge.png', 8 << 30), 'cannot be read as a tar'),
    ('a name of 8 GiB', header('././@LongLink', 8 << 30, tarfile.GNUTYPE_LONGNAME), 'a header of'),
    ('attributes of 8 GiB', header('pax', 8 << 30, tarfile.XHDTYPE), 'a header of'),
    ('a size below nothing', header('red/back.png', -2048), 'claims -2048 bytes'),
    ('a name below nothing', header('././@LongLink', -512, tarfile.GNUTYPE_LONGNAME), 'set.tar'),
])
def test_hostile_headers_cost_neither_memory_nor_time(
        tmp_path: Path, packed: bool, what: str, head: bytes, said: str) -> None:
    whole = labeled_datasets.write_tar(tmp_path / 'set.tar', labeled_datasets.FLAT).read_bytes()
    cut = whole.rstrip(b'\0')
    cut += b'\0' * (-len(cut) % 512)
    data = cut + head + b'\0' * 2048
    path = tmp_path / ('set.tar.gz' if packed else 'set.tar')
    path.write_bytes(gzip.compress(data) if packed else data)
    with pytest.raises(DatasetError) as error:
        open_set(path)
    assert said in str(error.value) and 'set.tar' in str(error.value)


@pytest.mark.parametrize('packed', [False, True])
def test_a_cut_or_damaged_tar_is_refused_wherever_the_damage_is(
        tmp_path: Path, packed: bool) -> None:
    whole = labeled_datasets.write_tar(tmp_path / 'set.tar', labeled_datasets.FLAT).read_bytes()
    path = tmp_path / ('set.tar.gz' if packed else 'set.tar')
    end = len(whole.rstrip(b'\0'))
    for cut in range(1, end, 200):
        path.write_bytes(gzip.compress(whole[:cut]) if packed else whole[:cut])
        with pytest.raises(DatasetError):
            open_set(path)
    for member in range(1, 6):  # tarfile alone would take a bad header for the end
        damaged = bytearray(whole)
        damaged[1024 * member + 10] ^= 1
        path.write_bytes(gzip.compress(damaged) if packed else damaged)
        with pytest.raises(DatasetError, match='damaged or cut after member'):
            open_set(path)
    if packed:
        data = gzip.compress(whole)
        for cut in range(1, len(data), 20):
            path.write_bytes(data[:cut])
            with pytest.raises(DatasetError):
                open_set(path)


def test_a_image_above_the_limit_is_reported_and_not_read(
        tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(tmp_path, labeled_datasets.FLAT | {'red/large.png': b'x' * 5000})
    for module in (image_files, tar):
        monkeypatch.setattr(module, 'MAX_FILE_BYTES', 4096)
    monkeypatch.setattr('shufflenet_ros.datasets.folder.MAX_FILE_BYTES', 4096)
    ends = {sample.name: sample.message for sample in open_set(path).samples()}
    assert [name for name, message in ends.items() if isinstance(message, FrameError)] == ['red/large.png']
    assert ends['red/large.png'].reason is Reason.TOO_LARGE


def test_a_tar_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = labeled_datasets.write_tar(tmp_path / 'set.tar', labeled_datasets.FLAT)
    dataset = open_set(path)
    labeled_datasets.write_tar(path, dict(reversed(labeled_datasets.FLAT.items())))
    with pytest.raises(DatasetError, match='leave it alone while it is read'):
        list(dataset.samples())


def test_orientation_and_alpha_are_taken_as_core_takes_them(tmp_path: Path) -> None:
    import cv2
    rng = np.random.default_rng(0)
    (tmp_path / 'a').mkdir()
    pixels = rng.integers(0, 256, (20, 30, 4), np.uint8)
    cv2.imwrite(str(tmp_path / 'a' / 'alpha.tiff'), pixels)
    (sample,) = open_set(tmp_path).samples()
    assert np.array_equal(decode(sample.message, 10_000).pixels, pixels[:, :, :3])
