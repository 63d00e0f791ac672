# SPDX-License-Identifier: Apache-2.0
"""colcon, as on a robot: it finds both packages, none of the stand-ins, and builds a working workspace."""

from __future__ import annotations

from pathlib import Path

import environments
import pytest
from message_wheel import build_variables
from shell import run


@pytest.fixture(scope='module')
def colcon_venv() -> Path:
    """An environment with colcon and the ROS build wheels."""
    if not environments.WHEELS_EXIST:
        pytest.skip('pip has ROS for x86_64 only')
    return environments.colcon_environment()


def colcon(venv: Path, cwd: Path, *arguments: object) -> str:
    command = [venv / 'bin/colcon', '--log-base', cwd / 'log', *arguments]
    return run(command, env=build_variables(venv), cwd=cwd)


def base_paths(repo_root: Path) -> list[Path]:
    return [repo_root, repo_root / 'interfaces']


def test_list_finds_the_two_packages_and_their_kinds(colcon_venv, repo_root, tmp_path):
    lines = colcon(colcon_venv, tmp_path, 'list', '--base-paths', *base_paths(repo_root)).splitlines()
    assert {(name, kind) for name, _, kind in (line.split('\t') for line in lines)} == {
        ('shufflenet_ros', '(ros.ament_python)'), ('shufflenet_ros_msgs', '(ros.ament_cmake)'),
    }


def test_only_colcon_ignore_hides_the_stand_ins(colcon_venv, repo_root, tmp_path):
    direct = repo_root / 'interfaces/pip/vision_msgs'
    assert 'vision_msgs' in colcon(colcon_venv, tmp_path, 'list', '--names-only', '--base-paths', direct)
    assert colcon(colcon_venv, tmp_path, 'list', '--names-only', '--base-paths', direct.parent) == ''


@pytest.fixture(scope='module')
def workspace(colcon_venv: Path, repo_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The install space of a real build of both packages."""
    folder = tmp_path_factory.mktemp('workspace')
    colcon(colcon_venv, folder, 'build', '--base-paths', *base_paths(repo_root), '--cmake-args',
           f'-DPython3_EXECUTABLE={colcon_venv}/bin/python', '-DBUILD_TESTING=OFF')
    return folder / 'install'


def test_build_puts_files_where_ros_looks(workspace, repo_root):
    share = workspace / 'shufflenet_ros/share'
    assert (share / 'ament_index/resource_index/packages/shufflenet_ros').is_file()
    assert (share / 'shufflenet_ros/package.xml').is_file()
    for folder, pattern in (('launch', '*.launch.py'), ('config', '*.*'), ('models', '*.*')):
        expected = {path.name for path in (repo_root / folder).glob(pattern)}
        assert expected, f'{folder}/ is empty'
        assert {path.name for path in (share / 'shufflenet_ros' / folder).iterdir()} == expected


def test_ros2_run_finds_both_programs(workspace):
    programs = workspace / 'shufflenet_ros/lib/shufflenet_ros'
    assert {path.name for path in programs.iterdir()} == {'classify_node', 'shufflenet-ros'}


def test_the_built_command_runs(workspace, colcon_venv):
    # The build environment lacks OpenCV and onnxruntime: help must work all the same.
    script = f'. {workspace}/setup.sh && {workspace}/shufflenet_ros/lib/shufflenet_ros/shufflenet-ros --help'
    assert 'classify' in run(['bash', '-c', script], env=build_variables(colcon_venv))


def test_the_built_message_imports(workspace, colcon_venv):
    script = (f'. {workspace}/setup.sh && {colcon_venv}/bin/python -c '
              '"from shufflenet_ros_msgs.msg import Embedding; print(Embedding().data)"')
    assert "array('f')" in run(['bash', '-c', script], env=build_variables(colcon_venv))
