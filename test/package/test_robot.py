# SPDX-License-Identifier: Apache-2.0
"""README, the robot's steps and the container's files agree. `make test-robot` runs the steps."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import robot
import setup_env
import yaml

STEPS = 'scripts/robot_steps.sh'
FUNCTIONS = ('install_dependencies', 'install_onnxruntime', 'build_workspace')


@pytest.fixture(scope='module')
def functions(repo_root: Path) -> dict[str, str]:
    """The bodies of the script's functions, by name."""
    text = (repo_root / STEPS).read_text()
    return dict(re.findall(r'^(\w+)\(\) {.*?\n(.*?)^}', text, re.MULTILINE | re.DOTALL))


@pytest.fixture(scope='module')
def stages(repo_root: Path) -> list[list[tuple[str, str]]]:
    """The Dockerfile's instructions and their arguments, a list for each stage."""
    text = re.sub(r'\\\n|^#.*\n', '', (repo_root / 'docker/Dockerfile').read_text(), flags=re.MULTILINE)
    words = [tuple(line.split(' ', 1)) for line in text.splitlines() if line]
    starts = [number for number, (name, _) in enumerate(words) if name == 'FROM'] + [len(words)]
    return [words[a:b] for a, b in zip(starts, starts[1:])]


@pytest.fixture(scope='module')
def service(repo_root: Path) -> dict[str, Any]:
    return yaml.safe_load((repo_root / 'docker/compose.yaml').read_text())['services']['shufflenet']


@pytest.mark.parametrize('name', FUNCTIONS)
def test_readme_and_the_setup_s_message_show_what_the_steps_run(functions, repo_root, name):
    command = functions[name].strip().removesuffix(' "$@"')
    readme = (repo_root / 'README.md').read_text().split('## On a robot\n')[1].split('```')[1]
    assert command in re.split('\n| && ', readme)
    assert command in setup_env.ROBOT_COMMANDS


def test_readme_installs_the_build_packages(functions, repo_root):
    packages = functions['build_packages'].strip().removeprefix('echo ')
    assert f'sudo apt install {packages}\n' in (repo_root / 'README.md').read_text()


def test_rosdep_finds_the_two_packages_where_readme_points_it(functions, repo_root, tmp_path):
    packages = pytest.importorskip('catkin_pkg.packages', reason='needs scripts/requirements/test.txt')
    (tmp_path / 'src').mkdir()
    (tmp_path / 'src/shufflenet_ros').symlink_to(repo_root)
    paths = functions['install_dependencies'].split('--from-paths ')[1].removesuffix(' "$@"\n').split()
    assert [packages.find_package_paths(tmp_path / path) for path in paths] == [
        ['shufflenet_ros'], ['shufflenet_ros_msgs']]


def test_every_run_time_key_becomes_a_package(repo_root):
    packages = subprocess.run([repo_root / STEPS, 'runtime_packages', repo_root / 'package.xml'], text=True,
                              env={'ROS_DISTRO': 'jazzy', 'PATH': '/usr/bin:/bin'}, stdout=subprocess.PIPE,
                              check=True).stdout.split()
    assert {'python3-numpy', 'ros-jazzy-vision-msgs', 'ros-jazzy-launch-ros'} <= set(packages)
    keys = (repo_root / 'package.xml').read_text().count('<exec_depend>')
    assert len(packages) == keys - 1, 'all but shufflenet_ros_msgs'
    assert {'python3-numpy', 'python3-opencv', 'g++'} <= set(robot.apt_packages())


def test_the_image_is_built_in_two_stages_and_runs_as_a_user_without_a_compiler(stages):
    build, final = stages
    image = 'ros:${ROS_DISTRO}-ros-'
    assert [stage[0][1] for stage in stages] == [f'{image}base AS build', f'{image}core']
    assert [argument for name, argument in final if name == 'USER'] == ['robot']
    names = [name for name, _ in final]
    assert 'RUN' not in names[names.index('ENTRYPOINT'):] and dict(final)['STOPSIGNAL'] == 'SIGINT'
    installed = [argument for name, argument in final if name == 'RUN' and 'install' in argument]
    assert len(installed) == 1 and '(/tmp/robot_steps.sh runtime_packages' in installed[0]
    called = re.findall(r'robot_steps\.sh (\w+)', str(build))
    assert set(called) == {'install_packages', 'build_packages', 'install_onnxruntime', 'build_workspace'}


def test_what_the_dockerfile_names_exists_and_is_not_ignored(stages, functions, repo_root):
    ignored = (repo_root / '.dockerignore').read_text().splitlines()
    for name, argument in [instruction for stage in stages for instruction in stage]:
        if name == 'COPY' and '--from' not in argument:
            for source in argument.removeprefix('--chown=robot ').split()[:-1]:
                assert (repo_root / source).exists() and source.split('/')[0] not in ignored
    assert set(re.findall(r'robot_steps\.sh ([a-z_]+_[a-z]+)', str(stages))) <= functions.keys()
    for path in ('docker/entrypoint.sh', STEPS):
        assert (repo_root / path).stat().st_mode & 0o111, f'{path} is not executable'
        subprocess.run(['bash', '-n', repo_root / path], check=True)
    assert '.*' in ignored, '.venv, .cache and .git would be sent to Docker'
    # setup.py reads or installs these.
    needed = {'README.md', 'LICENSE', 'launch', 'config', 'models', 'native', 'resource', 'interfaces'}
    assert not needed & {*ignored}


@pytest.mark.parametrize(('old', 'new', 'status'), [('', '', 0), ('cap_drop:', 'cap_dropped:', 1)])
def test_the_compose_file_fits_its_schema_and_a_broken_one_does_not(repo_root, tmp_path, old, new, status):
    pytest.importorskip('check_jsonschema', reason='needs scripts/requirements/test.txt')
    (tmp_path / 'compose.yaml').write_text((repo_root / 'docker/compose.yaml').read_text().replace(old, new))
    command = [sys.executable, '-m', 'check_jsonschema', '--builtin-schema', 'vendor.compose-spec']
    done = subprocess.run([*command, tmp_path / 'compose.yaml'], text=True, capture_output=True, check=False)
    assert done.returncode == status, done.stdout


def test_the_container_has_no_rights_and_reaches_the_robots_dds(service, stages, repo_root):
    assert 'privileged' not in service and 'user' not in service and 'devices' not in service
    assert service['cap_drop'] == ['ALL'] and service['security_opt'] == ['no-new-privileges:true']
    assert service['read_only'] is True and service['tmpfs'] == ['/tmp']
    assert service['network_mode'] == service['ipc'] == 'host' and service['restart'] == 'unless-stopped'
    assert {'ROS_DOMAIN_ID', 'RMW_IMPLEMENTATION'} <= service['environment'].keys()
    command = ' '.join(yaml.safe_load(dict(stages[1])['CMD']))
    assert service['command'].startswith(f'{command} ${{LAUNCH_ARGUMENTS:-')
    assert (repo_root / 'docker' / service['build']['context'] / service['build']['dockerfile']).is_file()


def test_missing_tools_are_named_with_their_packages(monkeypatch, capsys):
    monkeypatch.setenv('PATH', '/nowhere')
    assert robot.main() == 1
    assert 'sudo apt install mmdebstrap bubblewrap' in capsys.readouterr().err


def test_only_debians_own_sources_are_used(monkeypatch):
    lines = ['deb http://mirror/debian/ bookworm main', 'deb http://mirror/debian/ bookworm-updates main',
             'deb https://vendor/ bookworm stable', 'deb https://vendor/ vendor-bookworm main']
    monkeypatch.setattr(robot, 'run', lambda command: '\n'.join(lines))
    assert robot.debian_sources() == lines[:2]
