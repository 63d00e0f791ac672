# SPDX-License-Identifier: Apache-2.0
"""Row C1: a file that is no readable model is rejected at once, with path, cause and remedy."""

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from onnx_models import good

from shufflenet_ros.bundles.bundle import open_bundle
from shufflenet_ros.bundles.errors import ModelError
from shufflenet_ros.bundles.files import read_regular


def unix_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)  # relative to the working directory, because it must be short


def folder_with_a_model(path: Path) -> None:
    path.mkdir()
    good(path, 'inside')


def sparse_giant(path: Path) -> None:
    path.touch()
    os.truncate(path, (256 << 20) + 1)


# What is at the path m.onnx, the path to open if it is another one, and the error.
CASES: dict[str, tuple[Callable[[Path], object], str, str]] = {
    'missing': (lambda path: None, '', 'No such file'),
    'directory': (folder_with_a_model, '', 'got a directory; name one of its files: inside.onnx'),
    'fifo': (os.mkfifo, '', 'got a FIFO'),
    'endless': (lambda path: None, '/dev/zero', 'got a character device'),
    'link to endless': (lambda path: path.symlink_to('/dev/zero'), '', 'got a character device'),
    'dangling': (lambda path: path.symlink_to('gone.onnx'), '', 'No such file'),
    'loop': (lambda path: path.symlink_to(path), '', 'symbolic link'),
    'socket': (unix_socket, '', 'cannot be read'),
    'empty': (Path.touch, '', 'got 0 bytes'),
    'sparse giant': (sparse_giant, '', 'expected at most 268435456 bytes, got 268435457 bytes'),
    'below a file': (Path.touch, 'm.onnx/m.onnx', 'Not a directory'),
    'nul': (lambda path: None, 'a\0b.onnx', 'null'),
    'too long': (lambda path: None, 'a' * 5000 + '.onnx', 'name too long'),
}


@pytest.mark.parametrize(('make', 'other', 'cause'), CASES.values(), ids=CASES)
def test_c1_a_file_that_is_no_model(make: Callable[[Path], object], other: str, cause: str, tmp_path: Path,
                                    monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path / 'm.onnx')
    path = tmp_path / (other or 'm.onnx')
    start = time.perf_counter()
    with pytest.raises(ModelError) as rejected:
        open_bundle(str(path))
    text = str(rejected.value)
    print(f'rejected after {time.perf_counter() - start:.4f} s: {text}')
    assert cause.lower() in text.lower() and str(path) in text
    assert '; ' in text, 'a remedy follows the cause'


@contextmanager
def not_root() -> Iterator[None]:
    """Root can read everything, so be another user for a moment."""
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
