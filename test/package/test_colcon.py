# SPDX-License-Identifier: Apache-2.0
"""colcon, as on a robot: it finds both packages, none of the stand-ins, and builds a working workspace."""

from __future__ import annotations

from pathlib import Path

import environments
import pytest
from message_wheel import build_variables
from shell import run

BASE_PATHS = ('--base-paths', 'src', 'src/shufflenet_ros/interfaces')


@pytest.fixture(scope='module')
def colcon_venv() -> Path:
    """An environment with colcon and the ROS build wheels."""
    if not environments.WHEELS_EXIST:
        pytest.skip('pip has ROS for x86_64 only')
    return environments.colcon_environment()


def colcon(venv: Path, cwd: Path, *arguments: object) -> str:
    return run([venv / 'bin/colcon', *arguments], env=build_variables(venv), cwd=cwd)


@pytest.fixture(scope='module')
def clone(repo_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a clone, as README makes it, and another package beside it."""
    folder = tmp_path_factory.mktemp('workspace')
    (folder / 'src').mkdir()
    (folder / 'src/shufflenet_ros').symlink_to(repo_root)
    (folder / 'src/other').mkdir()
    manifest = (repo_root / 'interfaces/shufflenet_ros_msgs/package.xml').read_text()
    (folder / 'src/other/package.xml').write_text(manifest.replace('shufflenet_ros_msgs', 'other'))
    return folder


def test_colcon_finds_the_two_packages_and_not_the_stand_ins(colcon_venv, clone, repo_root, tmp_path):
    listed = colcon(colcon_venv, clone, 'list', *BASE_PATHS)
    assert {tuple(line.split('\t')[::2]) for line in listed.splitlines()} == {
        ('other', '(ros.ament_cmake)'), ('shufflenet_ros', '(ros.ament_python)'),
        ('shufflenet_ros_msgs', '(ros.ament_cmake)')}
    # Only COLCON_IGNORE hides them.
    pip = repo_root / 'interfaces/pip'
    for folder, expected in ((pip, ''), (pip / 'vision_msgs', 'vision_msgs\n')):
        assert colcon(colcon_venv, tmp_path, 'list', '--names-only', '--base-paths', folder) == expected


@pytest.fixture(scope='module')
def workspace(colcon_venv: Path, clone: Path) -> Path:
    """The install space of a real build of both packages."""
    colcon(colcon_venv, clone, 'build', *BASE_PATHS, '--packages-skip', 'other', '--cmake-args',
           f'-DPython3_EXECUTABLE={colcon_venv}/bin/python', '-DBUILD_TESTING=OFF')
    return clone / 'install'


def test_build_puts_files_where_ros_looks(workspace, repo_root):
    share = workspace / 'shufflenet_ros/share'
    assert (share / 'ament_index/resource_index/packages/shufflenet_ros').is_file()
    assert (share / 'shufflenet_ros/package.xml').is_file()
    for folder, pattern in (('launch', '*.launch.py'), ('config', '*.*'), ('models', '*.*')):
        expected = {path.name for path in (repo_root / folder).glob(pattern)}
        assert expected, f'{folder}/ is empty'
        assert {path.name for path in (share / 'shufflenet_ros' / folder).iterdir()} == expected
    programs = workspace / 'shufflenet_ros/lib/shufflenet_ros'
    assert {path.name for path in programs.iterdir()} == {'classify_node', 'shufflenet-ros'}


@pytest.mark.parametrize(('command', 'output'), [
    # The build environment lacks OpenCV and onnxruntime: help must work anyway.
    ('{workspace}/shufflenet_ros/lib/shufflenet_ros/shufflenet-ros --help', 'classify'),
    ('python -c "from shufflenet_ros_msgs.msg import Embedding; print(Embedding().data)"', "array('f')"),
    # What `shufflenet-ros service` writes into the systemd unit.
    ('python -c "import os; from shufflenet_ros.ros.systemd_unit import find_installation as find; '
     'print(find(os.environ).setups)"', "/install/setup.bash',)"),
])
def test_what_was_built_runs(workspace, colcon_venv, command, output):
    script = f'. {workspace}/setup.sh && {command.format(workspace=workspace)}'
    assert output in run(['bash', '-c', script], env=build_variables(colcon_venv))
