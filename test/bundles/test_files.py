# SPDX-License-Identifier: Apache-2.0
"""Row C1: what is not a readable model file is rejected at once, with path, cause and remedy."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from onnx_models import good

from shufflenet_ros.bundles.bundle import open_bundle
from shufflenet_ros.bundles.errors import ModelError
from shufflenet_ros.bundles.files import read_regular


def make(kind: str, folder: Path) -> Path:
    """Something at a path that is not a model file."""
    path = folder / 'model.onnx'
    if kind == 'directory':
        path = folder / 'models'
        path.mkdir()
        good(path, 'inside')
    elif kind == 'fifo':
        os.mkfifo(path)
    elif kind == 'endless':
        return Path('/dev/zero')
    elif kind in ('link to endless', 'dangling', 'loop'):
        targets = {'link to endless': '/dev/zero', 'dangling': folder / 'gone.onnx', 'loop': path}
        path.symlink_to(targets[kind])
    elif kind == 'socket':
        with socket.socket(socket.AF_UNIX) as unix_socket:
            unix_socket.bind('model.onnx')  # relative to the working directory, because it must be short
    elif kind == 'empty':
        path.touch()
    elif kind == 'sparse giant':
        path.touch()
        os.truncate(path, (256 << 20) + 1)
    elif kind == 'below a file':
        return good(folder) / 'model.onnx'
    elif kind == 'nul':
        return folder / 'a\0b.onnx'
    elif kind == 'too long':
        return folder / ('a' * 5000 + '.onnx')
    return path


CASES = {
    'missing': 'No such file', 'directory': 'got a directory; name one of its files: inside.onnx',
    'fifo': 'got a FIFO', 'endless': 'got a character device', 'link to endless': 'got a character device',
    'dangling': 'No such file', 'loop': 'symbolic link', 'socket': 'cannot be read', 'empty': 'got 0 bytes',
    'sparse giant': 'expected at most 268435456 bytes, got 268435457 bytes',
    'below a file': 'Not a directory', 'nul': 'null', 'too long': 'name too long',
}


@pytest.mark.parametrize(('kind', 'cause'), CASES.items(), ids=CASES)
def test_c1_no_model_file(kind: str, cause: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = make(kind, tmp_path)
    start = time.perf_counter()
    with pytest.raises(ModelError) as rejected:
        open_bundle(str(path))
    print(f'rejected after {time.perf_counter() - start:.4f} s: {rejected.value}')
    assert cause.lower() in str(rejected.value).lower()
    assert str(path) in str(rejected.value)
    assert '; ' in str(rejected.value), 'a remedy follows the cause'


@contextmanager
def not_root() -> Iterator[None]:
    """Root can read everything, so give its rights away for a moment."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_c1_unreadable(tmp_path: Path) -> None:
    path = good(tmp_path)
    path.chmod(0)
    with not_root(), pytest.raises(ModelError, match='Permission denied; check the path and its permissions'):
        read_regular(path, 1 << 20)


def test_c1_once_fixed_it_opens(tmp_path: Path) -> None:
    path = tmp_path / 'late.onnx'
    with pytest.raises(ModelError):
        open_bundle(str(path))
    assert open_bundle(str(good(tmp_path, 'late'))).card.name == 'late'


def test_a_file_is_read_whole_and_up_to_the_limit(tmp_path: Path) -> None:
    (tmp_path / 'x').write_bytes(b'abc')
    assert read_regular(tmp_path / 'x', 3) == b'abc'
    with pytest.raises(ModelError, match='at most 2 bytes'):
        read_regular(tmp_path / 'x', 2)
