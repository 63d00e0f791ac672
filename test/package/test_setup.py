# SPDX-License-Identifier: Apache-2.0
"""Setup stops where it can't work and says what to do. It fills an environment once and destroys nothing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import environments
import pytest
import setup_env
import shell
from message_wheel import PACKAGES, build_environment, build_variables, install_beside_distribution
from shell import SetupError, ensure, python_version, run

from benchmarks.arm import prepare


@pytest.mark.parametrize(('version', 'present', 'remedy'), [
    ((3, 10), '', None),
    ((3, 13), '', None),
    ((2, 7), 'python3.12', r'run `PYTHON=python3\.12 make setup`'),
    ((3, 9), 'python3.9', r'install one of python3\.13, .*, python3\.10$'),
    ((3, 14), 'python3.12', r'run `PYTHON=python3\.12 make setup`'),
])
def test_a_python_that_is_not_supported_is_an_error_that_names_one_or_all(version, present, remedy):
    message = rf'Python {version[0]}\.{version[1]}.*3\.10 to 3\.13: {remedy}'
    with pytest.raises(SetupError, match=message) if remedy else nullcontext():
        setup_env.check_python(version, {present: f'/usr/bin/{present}'}.get)


def test_an_old_python_reads_the_setup_as_far_as_the_message(repo_root):
    old = environments.find_python('3.8') or pytest.skip('needs python3.8 on PATH or in pyenv')
    done = subprocess.run([old, 'scripts/setup_env.py'], cwd=repo_root, text=True, capture_output=True,
                          check=False)
    assert done.returncode == 1 and done.stderr.startswith('setup: this is Python 3.8; '), done.stderr


def test_wheels_exist_for_x86_64_only():
    setup_env.check_wheels_exist('x86_64')
    with pytest.raises(SetupError, match=r'this is aarch64(.|\n)*rosdep install(.|\n)*'
                       'colcon build --base-paths src src/shufflenet_ros/interfaces'):
        setup_env.check_wheels_exist('aarch64')


@pytest.mark.parametrize(('variables', 'expected'), [
    ({}, r'this is aarch64, and pip has ROS 2 only for x86_64\. Install ROS 2 .*'),
    ({'ROS_DISTRO': 'jazzy'}, r'missing: python3\.\d+ headers .* python3\.\d+-dev python3\.\d+-venv$'),
])
def test_an_emulated_arm_board_needs_a_distribution_and_then_goes_on(arm_tools, variables, expected):
    """As far as the emulator goes: its Python has no headers, and can't start itself."""
    guest = prepare.ensure_guest()
    done = subprocess.run(['qemu-aarch64', '-L', guest / 'root', prepare.guest_python(guest),
                           shell.ROOT / 'scripts/setup_env.py'], env=shell.clean_environment(**variables),
                          text=True, capture_output=True, check=False)
    assert done.returncode == 1 and re.match(f'setup: {expected}', done.stderr), done.stderr


@pytest.mark.parametrize(('variables', 'found'), [
    ({'ROS_DISTRO': 'humble'}, 'humble'),
    ({'AMENT_PREFIX_PATH': '/opt/ros/jazzy'}, 'at /opt/ros/jazzy'),
    ({}, None),
    ({'ROS_DISTRO': '', 'AMENT_PREFIX_PATH': '/clone/.venv'}, None),
])
def test_a_sourced_distribution_is_found_and_our_own_environment_is_none(variables, found):
    assert setup_env.distribution(variables, Path('/clone')) == found


@pytest.mark.parametrize(('lacking', 'what', 'package'), [
    ('', '', ''),
    ('cmake', 'cmake', 'cmake'),
    ('g++', 'C[+][+] compiler', 'g[+][+]'),
    ('make', 'make', 'make'),
    ('ensurepip', 'venv with pip', r'python3\.11-venv'),
    ('header', 'headers', r'python3\.11-dev'),
])
def test_a_missing_tool_is_named_with_its_remedy(tmp_path, lacking, what, package):
    header = tmp_path / 'python3.11/Python.h'
    header.parent.mkdir()
    if lacking != 'header':
        header.touch()
    tools = {tool: f'/usr/bin/{tool}' for tool in ('cmake', 'g++', 'make') if tool != lacking}
    with (pytest.raises(SetupError, match=f'missing: .*{what}.*sudo apt install {package}$') if lacking
          else nullcontext()):
        setup_env.check_tools(tools.get, header, ensurepip=lacking != 'ensurepip')


def test_find_python_finds_only_interpreters_that_start(tmp_path, monkeypatch):
    broken = tmp_path / 'python9.9'
    broken.write_text('#!/bin/sh\nexit 1\n')
    broken.chmod(0o755)
    monkeypatch.setenv('PATH', str(tmp_path))
    assert environments.find_python('9.9') is None
    broken.write_text('#!/bin/sh\n')
    assert environments.find_python('9.9') == str(broken)


@pytest.fixture(scope='module')
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment without pip, which is quick to make."""
    venv = tmp_path_factory.mktemp('bare') / 'venv'
    run([sys.executable, '-m', 'venv', '--without-pip', venv])
    return venv


def test_a_layer_is_installed_once_and_again_after_a_failure_or_a_change(bare, tmp_path):
    source = tmp_path / 'list.txt'
    source.write_text('one')
    calls: list[Path] = []

    def fail(venv: Path) -> None:
        raise SetupError('no network')

    with pytest.raises(SetupError, match='no network'):
        ensure(bare, 'x', [source], fail)
    for text, times in (('one', 1), ('one', 1), ('two', 2)):
        source.write_text(text)
        ensure(bare, 'x', [source], calls.append)
        assert calls == [bare] * times


def test_only_an_environment_of_another_python_is_replaced(bare, tmp_path):
    config = bare / 'pyvenv.cfg'
    config.write_text(config.read_text().replace('version = 3.', 'version = 2.'))
    (bare / 'leftover').touch()
    ensure(bare, 'x', ['a'], lambda venv: None, options=['--without-pip'])
    assert not (bare / 'leftover').exists()
    assert python_version(bare) == '{}.{}'.format(*sys.version_info[:2])
    (tmp_path / 'precious').touch()
    with pytest.raises(SetupError, match='not a virtual environment, so it is left alone'):
        ensure(tmp_path, 'x', ['a'], lambda venv: None)
    assert (tmp_path / 'precious').exists()


def test_a_failing_command_shows_itself_and_its_last_words():
    with pytest.raises(SetupError, match=r'exit status 3(.|\n)*print(.|\n)*last words'):
        run([sys.executable, '-c', 'print("last words"); raise SystemExit(3)'])


def test_setup_names_its_extras(capsys):
    assert setup_env.main(['everything']) == 2
    assert 'usage: setup_env.py [demo|test]' in capsys.readouterr().err


def test_without_compilers_setup_stops_before_it_makes_anything(copy_sources, tmp_path):
    tree = copy_sources(tmp_path / 'tree')
    done = subprocess.run([sys.executable, 'scripts/setup_env.py'], text=True, capture_output=True,
                          check=False, env={**os.environ, 'PATH': str(tree)}, cwd=tree)
    assert done.returncode == 1
    assert 'missing: cmake' in done.stderr
    assert 'sudo apt install cmake g++ make' in done.stderr
    assert 'Traceback' not in done.stderr
    assert not (tree / '.venv').exists()


def test_a_distribution_may_have_a_newer_python():
    setup_env.check_python((3, 14), distro='lyrical')
    with pytest.raises(SetupError, match='this is Python 3.9'):
        setup_env.check_python((3, 9), distro='lyrical')


@pytest.fixture
def calls(tmp_path, monkeypatch) -> list[tuple[str, ...]]:
    """What setup would install into an empty .venv. pip and cmake have other tests."""
    made: list[tuple[str, ...]] = []
    monkeypatch.setattr(setup_env, 'VENV', tmp_path / 'venv')
    for module in (environments, shell):
        monkeypatch.setattr(module, 'pip_install', lambda venv, *words: made.append(tuple(map(str, words))))
    monkeypatch.setattr(setup_env, 'install_beside_distribution',
                        lambda packages, venv: made.append(('messages', *packages)))
    monkeypatch.setattr(setup_env, 'check_build_tools', lambda: None)
    monkeypatch.setattr(setup_env, 'BESIDE', [*setup_env.BESIDE, '--without-pip'])  # quick
    return made


@pytest.fixture
def stand_in(tmp_path, monkeypatch) -> Path:
    """A stand-in for a distribution's Python packages, on the path as its setup.bash puts them."""
    for name in ('rclpy', 'numpy', 'cv2', 'yaml', 'tqdm', 'vision_msgs'):
        (tmp_path / 'ros' / name).mkdir(parents=True)
        (tmp_path / 'ros' / name / '__init__.py').write_text("__version__ = '1.26.4'")
    monkeypatch.setenv('PYTHONPATH', str(tmp_path / 'ros'))
    return tmp_path / 'ros'


def test_beside_a_distribution_its_libraries_stay_and_the_rest_is_installed(calls, stand_in, monkeypatch):
    setup_env.use_distribution('jazzy')
    assert ('messages', 'interfaces/shufflenet_ros_msgs') in calls, 'it has vision_msgs itself'
    assert ('--no-deps', 'onnxruntime', '-e', str(shell.ROOT)) in calls
    assert 'include-system-site-packages = true' in (setup_env.VENV / 'pyvenv.cfg').read_text()
    # pip may install nothing that needs another NumPy.
    with monkeypatch.context() as patch:
        patch.setattr(shell, 'run', lambda command: '1.26.4\n')
        assert shell.constraints(setup_env.VENV).read_text() == 'numpy==1.26.4\n'
    calls.clear()
    setup_env.use_distribution('jazzy')
    assert not calls


@pytest.mark.parametrize(('module', 'content', 'remedy'), [
    ('rclpy', 'raise ImportError("no _rclpy_pybind11 for it")',
     r'no _rclpy_pybind11 for it. Run `sudo apt install ros-\$ROS_DISTRO-ros-base`, or .*`PYTHON=/usr/bin/'),
    ('cv2', 'raise ImportError("libGL.so.1")', 'libGL.so.1. Run `sudo apt install python3-opencv`'),
])
def test_a_module_that_the_distribution_lacks_is_an_error(calls, stand_in, module, content, remedy):
    (stand_in / module / '__init__.py').write_text(content)
    with pytest.raises(SetupError, match=f"ROS jazzy is sourced, but .* can't import {module}: .*{remedy}"):
        setup_env.use_distribution('jazzy')
    assert not calls


def test_one_environment_does_not_mix_a_distribution_with_ros_from_pip(calls, stand_in):
    run([sys.executable, '-m', 'venv', '--without-pip', setup_env.VENV])
    (setup_env.VENV / 'leftover').touch()
    setup_env.use_distribution('jazzy')
    assert not (setup_env.VENV / 'leftover').exists() and shell.sees_system(setup_env.VENV)
    setup_env.empty_unless(['--without-pip'])
    assert not shell.sees_system(setup_env.VENV)


@pytest.mark.skipif(not environments.WHEELS_EXIST, reason='pip has ROS for x86_64 only')
@pytest.mark.skipif(not os.environ.get('SHUFFLENET_TEST_FULL'), reason='compiles for 20 s: make test-full')
def test_messages_built_beside_a_distribution_work_without_library_path(tmp_path):
    """Jazzy's wheels stand in for a distribution."""
    ros = build_environment('jazzy')
    venv = tmp_path / 'venv'
    run([sys.executable, '-m', 'venv', '--system-site-packages', '--without-pip', venv])
    variables = build_variables(ros)
    variables['LD_LIBRARY_PATH'] += ''.join(f':{folder}' for folder in ros.rglob('*.libs'))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        install_beside_distribution(PACKAGES[1:], venv)
    code = ('from rclpy.node import Node; import rclpy; from shufflenet_ros_msgs.msg import Embedding; '
            'rclpy.init(); Node("n").create_publisher(Embedding, "e", 1).publish(Embedding()); print("sent")')
    variables['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    assert run([venv / 'bin/python', '-c', code], env=variables).strip() == 'sent'
