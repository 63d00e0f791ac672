"""Set-up refuses what can't work, and says what to do instead."""

from __future__ import annotations

from pathlib import Path

import host
import pytest
from shell import SetupError


@pytest.mark.parametrize('version', [(3, 10), (3, 11), (3, 12), (3, 13)])
def test_supported_python(version):
    host.check_python(version)


@pytest.mark.parametrize('version', [(2, 7), (3, 9), (3, 14)])
def test_other_python_is_refused_and_one_at_hand_is_named(version):
    with pytest.raises(SetupError, match=r'3\.10 to 3\.13: run `PYTHON=python3\.12 make setup`') as error:
        host.check_python(version, {'python3.12': '/usr/bin/python3.12'}.get)
    assert f'Python {version[0]}.{version[1]}' in str(error.value)


def test_without_any_supported_python_all_are_named():
    with pytest.raises(SetupError, match=r'install one of python3\.13, .*, python3\.10$'):
        host.check_python((3, 9), lambda name: None)


def test_wheels_exist_for_x86_64_only():
    host.check_wheels_exist('x86_64')
    with pytest.raises(SetupError, match='this is aarch64') as error:
        host.check_wheels_exist('aarch64')
    assert 'rosdep install' in str(error.value)
    assert 'colcon build --base-paths src/shufflenet_ros src/shufflenet_ros/interfaces' in str(error.value)


def test_a_sourced_distribution_is_seen(tmp_path):
    assert host.distribution({'ROS_DISTRO': 'humble'}, tmp_path) == 'humble'
    assert host.distribution({'AMENT_PREFIX_PATH': '/opt/ros/jazzy'}, tmp_path) == 'at /opt/ros/jazzy'


def test_our_own_environment_is_no_distribution(tmp_path):
    assert host.distribution({}, tmp_path) is None
    assert host.distribution({'ROS_DISTRO': '', 'AMENT_PREFIX_PATH': f'{tmp_path}/.venv'}, tmp_path) is None


def present(*tools: str):
    return {tool: f'/usr/bin/{tool}' for tool in tools}.get


@pytest.fixture
def header(tmp_path: Path) -> Path:
    path = tmp_path / 'python3.11/Python.h'
    path.parent.mkdir()
    path.touch()
    return path


def test_all_tools_present(header):
    host.check_tools(present('cmake', 'g++', 'make'), header, ensurepip=True)


@pytest.mark.parametrize(('tools', 'ensurepip', 'what', 'package'), [
    (('g++', 'make'), True, 'cmake', 'cmake'),
    (('cmake', 'make'), True, 'C[+][+] compiler', 'g[+][+]'),
    (('cmake', 'g++'), True, 'make', 'make'),
    (('cmake', 'g++', 'make'), False, 'venv with pip', 'python3.11-venv'),
])
def test_a_missing_tool_is_named_with_its_remedy(header, tools, ensurepip, what, package):
    with pytest.raises(SetupError, match=f'missing: .*{what}.*sudo apt install {package}$'):
        host.check_tools(present(*tools), header, ensurepip)


def test_missing_headers_are_named(header):
    header.unlink()
    with pytest.raises(SetupError, match=r'sudo apt install python3\.11-dev$'):
        host.check_tools(present('cmake', 'g++', 'make'), header, ensurepip=True)


def test_find_python_takes_only_interpreters_that_start():
    assert host.find_python('9.9') is None
