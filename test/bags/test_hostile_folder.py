# SPDX-License-Identifier: Apache-2.0
"""Bags that are FIFOs, and bag folders with a hostile metadata.yaml."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from shufflenet_ros.bags.errors import BagError
from shufflenet_ros.bags.limits import zstd
from shufflenet_ros.bags.reader import Bag


@pytest.mark.parametrize('suffix', ['.bag', '.db3', '.mcap'])
def test_a_fifo_named_like_a_bag_is_an_error_at_once(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f'pipe{suffix}'
    os.mkfifo(path)
    with pytest.raises(BagError, match=re.escape(f'{path}: expected a regular file or a folder, got a FIFO')):
        Bag(path)


@pytest.mark.parametrize('name', ['db3.db3', 'metadata.yaml', 'another'])
def test_a_fifo_in_a_bag_folder_is_an_error_at_once(bags: dict[str, Path], tmp_path: Path, name: str) -> None:
    folder = shutil.copytree(bags['db3'], tmp_path / 'bag')
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    with pytest.raises(BagError, match='expected a regular file, got a FIFO'):
        Bag(folder)


ALIASES = ['&a0 [x, x, x, x, x, x, x, x, x]',
           *(f'&a{i} [{", ".join([f"*a{i - 1}"] * 9)}]' for i in range(1, 9))]


@pytest.mark.parametrize(('old', 'new', 'expected'), [
    ('rosbag2_bagfile_information:', 'rosbag2_bagfile_information: # \n' + '  # filler\n' * 3_000_000,
     'metadata.yaml: more than 2097152 bytes'),
    ("compression_format: ''\n  compression_mode: ''",
     '\n  '.join([*(f'x{i}: {line}' for i, line in enumerate(ALIASES)), 'compression_format: *a8',
                  'compression_mode: file']),
     'metadata.yaml: alias *a0: expected none'),
    ("compression_format: ''", f'compression_format: {"[" * 900}{"]" * 900}',
     'nested more than 50 levels deep'),
], ids=['30 MB', 'aliases', 'deep'])
def test_hostile_metadata_is_an_error(
        bags: dict[str, Path], tmp_path: Path, old: str, new: str, expected: str) -> None:
    folder = shutil.copytree(bags['db3'], tmp_path / 'bag')
    text = (folder / 'metadata.yaml').read_text()
    assert old in text
    (folder / 'metadata.yaml').write_text(text.replace(old, new))
    with pytest.raises(BagError, match=re.escape(expected)):
        Bag(folder)


def test_a_packed_file_of_any_name_is_checked_first(
        bags: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shutil.copytree(bags['db3 file zstd'], tmp_path / 'bag')
    (packed,) = folder.glob('*.zstd')
    packed.unlink()
    (folder / 'plain').write_bytes(zstd.compress(bytes(1 << 20)))
    text = (folder / 'metadata.yaml').read_text()
    (folder / 'metadata.yaml').write_text(text.replace(packed.name, 'plain'))
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: usage._replace(free=100_000))
    with pytest.raises(BagError, match='plain unpacks to more than 50000 bytes'):
        Bag(folder)
