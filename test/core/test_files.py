# SPDX-License-Identifier: Apache-2.0
"""Files are written whole or not at all; only regular files are opened; locks exclude processes."""

import multiprocessing
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shufflenet_ros.core.files import (
    WriteError,
    check_regular,
    locked,
    open_regular,
    replacing,
    write_whole,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@contextmanager
def full_disk() -> Iterator[None]:
    """No file of this process grows above 1000 bytes, as if the disk were full.

    Not a fixture: pytest itself may write its report to a file, between a test and the end of its fixtures.
    """
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_file_is_written_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / 'file'
    write_whole(path, b'old')
    path.chmod(0o640)
    write_whole(path, b'new')
    assert path.read_bytes() == b'new' and path.stat().st_mode & 0o777 == 0o640
    assert names(tmp_path) == ['file']


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / 'link').symlink_to(tmp_path / 'file')
    write_whole(tmp_path / 'link', b'data')
    assert (tmp_path / 'link').is_symlink() and (tmp_path / 'file').read_bytes() == b'data'


@pytest.mark.parametrize('before', [None, b'old'])
def test_on_a_full_disk_the_old_file_stays(tmp_path: Path, before: bytes | None) -> None:
    path = tmp_path / 'file'
    if before:
        path.write_bytes(before)
    with full_disk(), pytest.raises(WriteError, match='cannot be written: File too large; .*another path'):
        write_whole(path, bytes(2000))
    assert names(tmp_path) == (['file'] if before else [])
    assert not before or path.read_bytes() == before


def test_an_error_in_the_block_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyError), replacing(tmp_path / 'file') as draft:
        draft.write_bytes(b'half')
        raise KeyError
    assert not names(tmp_path)


def killed_while_writing(path: Path) -> None:
    with replacing(path) as draft:
        draft.write_bytes(b'half')
        os._exit(9)


def test_a_killed_process_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / 'file'
    path.write_bytes(b'old')
    process = multiprocessing.get_context('fork').Process(target=killed_while_writing, args=(path,))
    process.start()
    process.join(20)
    assert process.exitcode == 9 and path.read_bytes() == b'old'


@pytest.mark.parametrize(('place', 'said'), [
    ('no/file', 'No such file or directory; make the folder first'),
    ('folder', 'expected a regular file, got a directory; choose another path'),
    ('pipe', 'expected a regular file, got a FIFO; choose another path'),
    ('/dev/null', 'expected a regular file, got a character device; choose another path'),
])
def test_a_target_that_cannot_be_written_is_reported(tmp_path: Path, place: str, said: str) -> None:
    (tmp_path / 'folder').mkdir()
    os.mkfifo(tmp_path / 'pipe')
    with pytest.raises(WriteError, match=f'{place} cannot be written: {said}'):
        write_whole(tmp_path / place, b'data')
    assert names(tmp_path) == ['folder', 'pipe'] and Path('/dev/null').is_char_device()


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / 'pipe')
    kinds = {tmp_path / 'pipe': 'a FIFO', tmp_path: 'a directory', Path('/dev/zero'): 'a character device'}
    for path, kind in kinds.items():
        for look in (open_regular, check_regular):
            with pytest.raises(OSError, match=f'expected a regular file, got {kind}'):
                look(path)
    (tmp_path / 'file').write_bytes(b'data')
    check_regular(tmp_path / 'file')
    with open_regular(tmp_path / 'file') as file:
        assert file.read() == b'data'


def busy() -> None:
    raise KeyError('busy')


def test_a_lock_excludes_other_processes_and_ends_with_its_own(tmp_path: Path) -> None:
    path = tmp_path / '.lock'
    code = ('import sys, time; from pathlib import Path; from shufflenet_ros.core.files import locked\n'
            'with locked(Path(sys.argv[1])): print("locked", flush=True); time.sleep(60)')
    with subprocess.Popen([sys.executable, '-c', code, str(path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b'locked\n'
        with pytest.raises(KeyError, match='busy'), locked(path, on_wait=busy):
            pass
        with locked(path, on_wait=holder.kill):
            pass
    assert path.exists()


def test_a_lock_in_a_missing_folder_is_reported(tmp_path: Path) -> None:
    expected = 'none cannot be written: No such file or directory; make the folder'
    with pytest.raises(WriteError, match=expected), locked(tmp_path / 'none' / '.lock'):
        pass
