"""Set-up's own behaviour: stamps, refusals that reach the user, nothing destroyed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import environments
import pytest
from shell import SetupError, digest, ensure, python_version, run


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """An environment without pip: quick to make."""
    venv = tmp_path / 'venv'
    run([sys.executable, '-m', 'venv', '--without-pip', venv])
    return venv


def test_a_layer_is_filled_once_and_again_when_an_input_changes(bare, tmp_path):
    source = tmp_path / 'list.txt'
    source.write_text('one')
    calls: list[Path] = []
    assert ensure(bare, 'x', [source], calls.append)
    assert not ensure(bare, 'x', [source], calls.append)
    source.write_text('two')
    assert ensure(bare, 'x', [source], calls.append)
    assert calls == [bare, bare]


def test_a_failed_fill_is_tried_again(bare):
    def fail(venv: Path) -> None:
        raise SetupError('no network')

    with pytest.raises(SetupError):
        ensure(bare, 'x', ['a'], fail)
    assert ensure(bare, 'x', ['a'], lambda venv: None)


def test_an_environment_of_another_python_is_replaced(bare):
    config = bare / 'pyvenv.cfg'
    config.write_text(config.read_text().replace('version = 3.', 'version = 2.'))
    leftover = bare / 'leftover'
    leftover.touch()
    ensure(bare, 'x', ['a'], lambda venv: None, options=['--without-pip'])
    assert not leftover.exists()
    assert python_version(bare) == '{}.{}'.format(*sys.version_info[:2])


def test_a_folder_that_is_no_environment_is_left_alone(tmp_path):
    (tmp_path / 'precious').touch()
    with pytest.raises(SetupError, match='no virtual environment, so it is left alone'):
        ensure(tmp_path, 'x', ['a'], lambda venv: None)
    assert (tmp_path / 'precious').exists()


def test_digest_sees_names_and_contents(tmp_path):
    one, two = tmp_path / 'one', tmp_path / 'two'
    for path in (one, two):
        path.write_text('same')
    assert digest([one]) != digest([two])
    before = digest([one, 'text'])
    one.write_text('other')
    assert digest([one, 'text']) != before


def test_a_failing_command_shows_itself_and_its_last_words():
    with pytest.raises(SetupError, match=r'exit status 3(.|\n)*print(.|\n)*last words'):
        run([sys.executable, '-c', 'print("last words"); raise SystemExit(3)'])


def set_up(repo_root: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, repo_root / 'scripts/setup_env.py', *arguments], text=True,
                          capture_output=True, check=False, env={**os.environ, **variables})


def test_setup_names_its_extras(repo_root):
    done = set_up(repo_root, 'everything')
    assert done.returncode == 2
    assert 'usage: setup_env.py [demo|test]' in done.stderr


@pytest.fixture
def tree(tmp_path: Path, repo_root: Path) -> Path:
    """A copy of what set-up reads, so that its refusals can't touch the clone's .venv."""
    for name in ('scripts', 'requirements', 'interfaces'):
        shutil.copytree(repo_root / name, tmp_path / name)
    for name in environments.PACKAGE:
        shutil.copy(repo_root / name, tmp_path)
    return tmp_path


def test_without_compilers_setup_stops_before_it_makes_anything(tree):
    done = set_up(tree, PATH=str(tree))
    assert done.returncode == 1
    assert 'missing: cmake' in done.stderr
    assert 'sudo apt install cmake g++ make' in done.stderr
    assert 'Traceback' not in done.stderr
    assert not (tree / '.venv').exists()
