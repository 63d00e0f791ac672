"""Row C1: what is no readable model file is refused at once, with path, cause and remedy."""

from __future__ import annotations

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


def missing(folder: Path) -> Path:
    return folder / 'missing.onnx'


def directory(folder: Path) -> Path:
    (folder / 'models').mkdir()
    good(folder / 'models', 'inside')
    return folder / 'models'


def fifo(folder: Path) -> Path:
    os.mkfifo(folder / 'fifo.onnx')
    return folder / 'fifo.onnx'


def endless(folder: Path) -> Path:
    return Path('/dev/zero')


def link_to_endless(folder: Path) -> Path:
    (folder / 'zero.onnx').symlink_to('/dev/zero')
    return folder / 'zero.onnx'


def dangling(folder: Path) -> Path:
    (folder / 'dangling.onnx').symlink_to(folder / 'gone.onnx')
    return folder / 'dangling.onnx'


def loop(folder: Path) -> Path:
    (folder / 'loop.onnx').symlink_to(folder / 'loop.onnx')
    return folder / 'loop.onnx'


def unix_socket(folder: Path) -> Path:
    path = folder / 's.onnx'
    with socket.socket(socket.AF_UNIX) as s:
        os.chdir(folder)  # The address must be short; the path may not be.
        s.bind('s.onnx')
    return path


def empty(folder: Path) -> Path:
    (folder / 'empty.onnx').touch()
    return folder / 'empty.onnx'


def sparse_giant(folder: Path) -> Path:
    with open(folder / 'giant.onnx', 'wb') as file:
        file.truncate((256 << 20) + 1)
    return folder / 'giant.onnx'


def below_a_file(folder: Path) -> Path:
    return good(folder) / 'model.onnx'


def nul(folder: Path) -> Path:
    return folder / 'a\0b.onnx'


def too_long(folder: Path) -> Path:
    return folder / ('a' * 5000 + '.onnx')


CASES: list[tuple[Callable[[Path], Path], str]] = [
    (missing, 'No such file'),
    (directory, 'got a directory; name one of its files: inside.onnx'),
    (fifo, 'got a FIFO'),
    (endless, 'got a character device'),
    (link_to_endless, 'got a character device'),
    (dangling, 'No such file'),
    (loop, 'symbolic link'),
    (unix_socket, 'cannot be read'),
    (empty, 'got 0 bytes'),
    (sparse_giant, 'expected at most 268435456 bytes, got 268435457 bytes'),
    (below_a_file, 'Not a directory'),
    (nul, 'null'),
    (too_long, 'name too long'),
]


@pytest.mark.parametrize(('make', 'cause'), CASES, ids=[case[0].__name__ for case in CASES])
def test_c1_no_model_file(make: Callable[[Path], Path], cause: str, tmp_path: Path,
                          monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = make(tmp_path)
    start = time.perf_counter()
    with pytest.raises(ModelError) as refused:
        open_bundle(str(path))
    print(f'refused after {time.perf_counter() - start:.4f} s: {refused.value}')
    assert cause.lower() in str(refused.value).lower()
    assert str(path) in str(refused.value)
    assert '; ' in str(refused.value), 'a remedy follows the cause'


@contextmanager
def not_root() -> Iterator[None]:
    """Root reads everything, so it gives its rights away for a moment."""
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


def test_c1_mended_it_opens(tmp_path: Path) -> None:
    path = tmp_path / 'late.onnx'
    with pytest.raises(ModelError):
        open_bundle(str(path))
    assert open_bundle(str(good(tmp_path, 'late'))).card.name == 'late'


def test_a_file_is_read_whole_and_up_to_the_limit(tmp_path: Path) -> None:
    (tmp_path / 'x').write_bytes(b'abc')
    assert read_regular(tmp_path / 'x', 3) == b'abc'
    with pytest.raises(ModelError, match='at most 2 bytes'):
        read_regular(tmp_path / 'x', 2)
