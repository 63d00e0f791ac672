# SPDX-License-Identifier: Apache-2.0
"""Setup itself: stamps, errors that reach the user, and nothing destroyed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import environments
import pytest
from shell import SetupError, clean_environment, digest, ensure, python_version, run


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
    with pytest.raises(SetupError, match='not a virtual environment, so it is left alone'):
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
                          capture_output=True, check=False, env={**os.environ, **variables}, cwd=repo_root)


def test_setup_names_its_extras(repo_root):
    done = set_up(repo_root, 'everything')
    assert done.returncode == 2
    assert 'usage: setup_env.py [demo|test]' in done.stderr


@pytest.fixture
def tree(tmp_path: Path, copy_sources: Callable[[Path], Path]) -> Path:
    return copy_sources(tmp_path / 'tree')


def test_without_compilers_setup_stops_before_it_makes_anything(tree):
    done = set_up(tree, PATH=str(tree))
    assert done.returncode == 1
    assert 'missing: cmake' in done.stderr
    assert 'sudo apt install cmake g++ make' in done.stderr
    assert 'Traceback' not in done.stderr
    assert not (tree / '.venv').exists()


@pytest.mark.skipif(not environments.WHEELS_EXIST, reason='pip has ROS for x86_64 only')
def test_where_a_distribution_is_sourced_its_rclpy_is_used(tree):
    # Jazzy's wheels, put on the paths as a distribution's setup.bash does it.
    jazzy = environments.jazzy_environment()
    site = next(jazzy.glob('lib/python3*/site-packages'))

    def sourced(**paths: str) -> subprocess.CompletedProcess[str]:
        return set_up(tree, ROS_DISTRO='jazzy', AMENT_PREFIX_PATH=str(jazzy), **paths)

    broken = sourced(PYTHONPATH='')
    assert broken.returncode == 1
    assert 'ROS jazzy is sourced, but' in broken.stderr
    assert 'does not find rclpy, vision_msgs, shufflenet_ros_msgs' in broken.stderr
    assert 'colcon build --base-paths src/shufflenet_ros src/shufflenet_ros/interfaces' in broken.stderr
    whole = sourced(PYTHONPATH=str(site))
    assert whole.returncode == 0, whole.stderr
    python = tree / '.venv/bin/python'
    assert '.venv is ready' in whole.stdout
    assert 'include-system-site-packages = true' in (tree / '.venv/pyvenv.cfg').read_text()
    assert not [line for line in run([python, '-m', 'pip', 'list']).splitlines() if line.startswith('ros-')]
    libraries = ':'.join(map(str, [jazzy / 'lib', *site.glob('ros_*.libs')]))
    variables = clean_environment(PYTHONPATH=str(site), LD_LIBRARY_PATH=libraries)
    where = run([python, '-c', 'import rclpy; print(rclpy.__file__)'], env=variables, cwd=tree / 'scripts')
    assert where.startswith(str(jazzy))
