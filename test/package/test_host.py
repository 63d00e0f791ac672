# SPDX-License-Identifier: Apache-2.0
"""Setup stops where it can't work, and says what to do instead."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import host
import pytest
from shell import SetupError


@pytest.mark.parametrize('version', [(3, 10), (3, 11), (3, 12), (3, 13)])
def test_supported_python(version):
    host.check_python(version)


@pytest.mark.parametrize(('version', 'present', 'remedy'), [
    ((2, 7), 'python3.12', r'run `PYTHON=python3\.12 make setup`'),
    ((3, 9), 'python3.12', r'run `PYTHON=python3\.12 make setup`'),
    ((3, 14), 'python3.12', r'run `PYTHON=python3\.12 make setup`'),
    ((3, 9), 'python3.9', r'install one of python3\.13, .*, python3\.10$'),
])
def test_another_python_is_an_error_that_names_one_or_all(version, present, remedy):
    with pytest.raises(SetupError, match=rf'Python {version[0]}\.{version[1]}.*3\.10 to 3\.13: {remedy}'):
        host.check_python(version, {present: f'/usr/bin/{present}'}.get)


def test_wheels_exist_for_x86_64_only():
    host.check_wheels_exist('x86_64')
    with pytest.raises(SetupError, match=r'this is aarch64(.|\n)*rosdep install(.|\n)*'
                       'colcon build --base-paths src/shufflenet_ros src/shufflenet_ros/interfaces'):
        host.check_wheels_exist('aarch64')


@pytest.mark.parametrize(('variables', 'found'), [
    ({'ROS_DISTRO': 'humble'}, 'humble'),
    ({'AMENT_PREFIX_PATH': '/opt/ros/jazzy'}, 'at /opt/ros/jazzy'),
    ({}, None),
    ({'ROS_DISTRO': '', 'AMENT_PREFIX_PATH': '/clone/.venv'}, None),
])
def test_a_sourced_distribution_is_found_and_our_own_environment_is_none(variables, found):
    assert host.distribution(variables, Path('/clone')) == found


TOOLS = ('cmake', 'g++', 'make')


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
    tools = {tool: f'/usr/bin/{tool}' for tool in TOOLS if tool != lacking}
    with (pytest.raises(SetupError, match=f'missing: .*{what}.*sudo apt install {package}$') if lacking
          else nullcontext()):
        host.check_tools(tools.get, header, ensurepip=lacking != 'ensurepip')


def test_find_python_takes_only_interpreters_that_start():
    assert host.find_python('9.9') is None
