# SPDX-License-Identifier: Apache-2.0
"""The verb `doctor` without a node: boards with faults, libraries that clash, variables of ROS, output."""

from __future__ import annotations

import os
import re
import sys
import time
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from shufflenet_ros.cli import doctor as verb
from shufflenet_ros.core.reasons import REMEDIES
from shufflenet_ros.core.watch import Level
from shufflenet_ros.doctor import finding as findings
from shufflenet_ros.doctor import model
from shufflenet_ros.doctor.finding import Finding, findings_of, start_checks
from shufflenet_ros.doctor.machine import check_machine
from shufflenet_ros.doctor.ros_setup import check_discovery, check_modules, check_profile

BOARD = {
    'proc/meminfo': 'MemTotal: 4000000 kB\nMemAvailable:    3000000 kB\n', 'proc/self/cgroup': '0::/robot\n',
    'proc/loadavg': '0.50 0.4 0.3 1/100 999', 'sys/class/thermal/thermal_zone0/temp': '45500\n',
    'sys/devices/platform/soc/soc:firmware/get_throttled': '50000\n',
    'sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq': '2400000\n',
    'sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq': '2400000\n',
    'sys/fs/cgroup/robot/memory.max': 'max\n', 'dev/shm/fastdds_1': '', 'dev/shm/other': ''}


@pytest.fixture
def board(tmp_path, monkeypatch) -> Any:
    """Make the file system of a board, with some files changed; returns the findings by name."""
    def check(**changes: str) -> dict[str, Finding]:
        for name, text in (BOARD | {key.replace('__', '/'): text for key, text in changes.items()}).items():
            (path := tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return {one.name: one for one in check_machine(tmp_path, {'ROS_LOG_DIR': str(tmp_path)})}
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    return check


def disk(free: int) -> Any:
    """What os.statvfs returns for a 64 MiB disk."""
    return SimpleNamespace(f_blocks=64, f_frsize=1 << 20, f_bavail=free)


def test_a_good_board(board):
    found = board()
    assert {one.level for one in found.values()} == {Level.OK}, found
    assert found['heat'].found == 'hottest sensor 46 C'
    assert found['shared memory'].found.endswith('1 files of Fast DDS')
    assert found['memory'].found == '2929 MiB available in the machine'
    assert found['load'].found.startswith('0.5 processes for ')


@pytest.mark.parametrize(('name', 'changes', 'text', 'remedy'), [
    ('heat', {'sys__class__thermal__thermal_zone0__temp': '85000'}, 'hottest sensor 85 C', 'cooling'),
    ('heat', {'sys__devices__platform__soc__soc:firmware__get_throttled': '50005'},
     'under-voltage, throttled', 'power supply'),
    ('clock rate', {'sys__devices__system__cpu__cpu0__cpufreq__scaling_max_freq': '600000'},
     'cpu0: at most 600 MHz', 'echo 2400000 | sudo tee '),
    ('memory', {'proc__meminfo': 'MemAvailable: 102400 kB'}, '100 MiB available in the machine', 'end other'),
    ('memory', {'sys__fs__cgroup__robot__memory.max': str(300 << 20),
                'sys__fs__cgroup__robot__memory.current': str(200 << 20)},
     '100 MiB available in the control group', 'raise the memory limit'),
    ('load', {'proc__loadavg': '999.0 1 1'}, '999.0 processes', '`top`'),
])
def test_a_board_with_a_fault(board, name, changes, text, remedy):
    found = board(**changes)
    assert {one.name for one in found.values() if one.level} == {name}
    assert text in found[name].found and remedy in found[name].remedy and found[name].expected


def test_a_board_whose_files_have_another_form(board):
    found = board(**{'sys__devices__platform__soc__soc:firmware__get_throttled': 'none',
                     'proc__loadavg': 'none'})
    assert {found[name].found[:11] for name in ('heat', 'load')} == {'not checked'}
    assert {one.level for one in found.values()} == {Level.OK}


def test_too_little_shared_memory_and_leftovers_of_other_users(board, monkeypatch):
    monkeypatch.setattr(os, 'statvfs', lambda _: disk(64))  # a container engine's default
    found = board()['shared memory']
    assert found.level is Level.WARN and found.found.startswith('/dev/shm: 64 of 64 MiB free')
    assert '--ipc=host' in found.remedy
    monkeypatch.undo()
    monkeypatch.setattr(os, 'access', lambda path, _: not Path(path).name.startswith('fastdds_'))
    found = board()['shared memory']
    assert found.found.endswith(f'some belong to {Path.home().owner()}')
    assert 'as the same user' in found.remedy


def test_folders_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / 'file').touch()
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'file' / 'cache'))
    *_, found = check_machine(tmp_path, {'ROS_LOG_DIR': str(tmp_path)})
    assert found.found == f'{tmp_path}/file/cache/shufflenet_ros cannot be written'
    assert found.remedy == f'sudo chown -R $USER {tmp_path}/file, or set XDG_CACHE_HOME to another folder'


def test_a_folder_in_one_that_this_user_cannot_read(tmp_path, monkeypatch):
    """As root there is no such folder, so pathlib does what it does for other users."""
    def denied(path: Path) -> bool:
        raise PermissionError(13, 'Permission denied', str(path))

    monkeypatch.setattr(Path, 'exists', denied)
    *_, found = check_machine(tmp_path, {'ROS_LOG_DIR': str(tmp_path / 'new')})
    assert found.name == 'folders'


@pytest.mark.parametrize(('module', 'code', 'level', 'text', 'remedy'), [
    ('cv2', "raise ImportError('numpy.core.multiarray failed to import')", Level.ERROR,
     "it was built for NumPy 1; pip's NumPy 2 hides apt's", "pip install 'numpy<2'"),
    ('cv2', "raise AttributeError('_ARRAY_API not found')", Level.ERROR, '_ARRAY_API',
     f"{sys.executable} -m pip install 'numpy<2'"),
    ('cv2', "raise ImportError('libGL.so.1: cannot open shared object file')", Level.ERROR, 'of a desktop',
     'opencv-python-headless'),
    ('cv2', "raise ModuleNotFoundError('x', name='cv2')", Level.ERROR, 'OpenCV is not installed',
     'sudo apt install python3-opencv'),
    ('onnxruntime', "raise ImportError('bad')", Level.WARN, 'ONNX Runtime: ImportError: bad', 'onnxruntime'),
    ('numpy', 'import os; os.abort()', Level.ERROR, 'ended with status -6', 'models check'),
    ('numpy', 'import time; print("{}"); time.sleep(60)', Level.ERROR, 'took too long', 'models check'),
])
def test_a_library_that_clashes(tmp_path, monkeypatch, module, code, level, text, remedy):
    """An invented module with the real one's name, in the child process that imports it."""
    (tmp_path / f'{module}.py').write_text(code)
    monkeypatch.setattr(findings, '_PACKAGE_PARENT', tmp_path)
    monkeypatch.setenv('PYTHONPATH', str(Path(model.__file__).parents[2]))
    request = {'model': 'no_such_model', 'card': '', 'backend': 'auto', 'precision': 'auto'}
    child = start_checks('shufflenet_ros.doctor.model', request)
    limit = 2.0 if 'sleep' in code else 60.0
    first, *_ = findings_of('model', child, time.monotonic() + limit, 'shufflenet-ros models check')
    assert first.level is level and text in first.found and remedy in first.remedy


def test_two_opencv_wheels(monkeypatch):
    names = ['opencv-python', 'numpy', 'opencv-python-headless']
    wheels = [SimpleNamespace(metadata={'Name': name}) for name in names]
    monkeypatch.setattr(model, 'distributions', lambda: wheels)
    clash, = (one for one in model._libraries() if one.level)
    assert clash.found == 'opencv-python and opencv-python-headless overwrite each other'


@pytest.mark.parametrize(('environment', 'level', 'text'), [
    ({}, Level.OK, 'ROS_DOMAIN_ID 0, range SUBNET'),
    ({'ROS_DOMAIN_ID': '7', 'ROS_LOCALHOST_ONLY': '1'}, Level.OK, 'this machine only'),
    ({'ROS_AUTOMATIC_DISCOVERY_RANGE': 'OFF', 'ROS_STATIC_PEERS': '10.0.0.1'}, Level.ERROR, 'range OFF'),
    ({'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCAL'}, Level.ERROR, 'range LOCAL'),
])
def test_discovery(environment, level, text):
    found, = check_discovery(environment)
    assert found.level is level and text in found.found


@pytest.mark.parametrize(('environment', 'level', 'remedy'), [
    ({'ROS_DISTRO': 'kilted'}, Level.OK, ''),
    ({'ROS_DISTRO': 'humble', 'FASTRTPS_DEFAULT_PROFILES_FILE': __file__}, Level.OK, ''),
    ({'ROS_DISTRO': 'jazzy', 'FASTDDS_DEFAULT_PROFILES_FILE': __file__}, Level.WARN,
     'export FASTRTPS_DEFAULT_PROFILES_FILE=$FASTDDS_DEFAULT_PROFILES_FILE'),
    ({'FASTDDS_DEFAULT_PROFILES_FILE': '/no/such.xml'}, Level.WARN, 'unset FASTDDS_DEFAULT_PROFILES_FILE'),
])
def test_the_dds_profile(environment, level, remedy):
    found, = check_profile(environment)
    assert found.level is level and remedy in found.remedy


@pytest.mark.parametrize(('module', 'remedy'), [
    ('rclpy', 'source /opt/ros'), ('shufflenet_ros_msgs.msg', 'source install/setup.bash')])
def test_without_ros_or_without_our_messages(monkeypatch, module, remedy):
    pytest.importorskip('rclpy', reason='needs ROS 2')
    monkeypatch.setitem(sys.modules, module, None)
    found, = check_modules()
    assert found.found.startswith(f'{module} cannot be imported: ModuleNotFoundError')
    assert remedy in found.remedy


def test_the_page_has_the_causes_and_remedies_that_doctor_prints(repo_root):
    page = (repo_root / 'docs' / 'troubleshooting.md').read_text()
    section = page.split('## Dropped frames\n')[1].split('\n## ')[0]
    section = re.sub(r'\[[^]]*\]\((#[^)]*)\)', r'docs/troubleshooting.md\1', section)
    _, _, *rows = (line.strip('| ').split(' | ') for line in section.splitlines() if line.startswith('|'))
    assert {row[0].strip('`'): tuple(row[1:]) for row in rows} == {str(k): v for k, v in REMEDIES.items()}


def test_without_ros_it_still_checks_the_rest(shufflenet, tmp_path, monkeypatch, tiny):
    """The whole command on a machine without rclpy, with a parameter file for another node."""
    (file := tmp_path / 'robot.yaml').write_text('/other:\n  ros__parameters: {top_k: 1}\n')
    (tmp_path / 'rclpy.py').write_text("raise ModuleNotFoundError('no rclpy', name='rclpy')")
    (tmp_path / 'dev' / 'shm').mkdir(parents=True)
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    monkeypatch.setattr(verb, 'ROOT', str(tmp_path))
    ran = shufflenet('doctor', '--params-file', file, '--model', 'tiny', '--json', status=1)
    told, = ran.lines
    assert set(told) == {'ok', 'checks'} and told['ok'] is False
    assert all(set(check) == {'name', 'level', 'found', 'expected', 'remedy'} for check in told['checks'])
    levels = [check['level'] for check in told['checks']]
    assert levels == sorted(levels, key=['error', 'warn', 'ok'].index)
    params_file, ros, *others = told['checks']
    # The symptom: the launch stops with an error about `params_file`.
    assert 'got sections for /other, expected one for /shufflenet' in params_file['found']
    assert 'name it /**, /shufflenet or' in params_file['remedy']
    assert ros['found'].startswith('rclpy cannot be imported') and 'source /opt/ros' in ros['remedy']
    found = {check['name']: check['found'] for check in others}
    assert f'NumPy {version("numpy")}' in found['libraries']
    assert found['model'].startswith('tiny on onnxruntime (CPUExecutionProvider): ')


def test_it_ends_in_time_when_everything_hangs(shufflenet, tmp_path, monkeypatch):
    for module in ('rclpy', 'numpy'):
        (tmp_path / f'{module}.py').write_text('import time; time.sleep(60)')
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    monkeypatch.setattr(verb, 'LIMIT_S', 2.0)
    began = time.monotonic()
    out = shufflenet('doctor', status=1).out
    assert time.monotonic() - began < 30.0
    assert 'ERROR model: the check took too long' in out and 'ERROR ROS: the check took too long' in out


def test_the_text_has_what_is_wrong_first(monkeypatch, shufflenet):
    good, bad = Finding('a', Level.OK, 'fine'), Finding('b', Level.WARN, 'broken\x1b', 'whole', 'glue it')
    monkeypatch.setattr(verb, '_findings', lambda args: iter([good, bad]))
    assert shufflenet('doctor', status=1).out.splitlines() == [
        'WARN b: broken\\x1b', '  expected: whole', '  remedy: glue it', '', 'check  found', 'a      fine']
    monkeypatch.setattr(verb, '_findings', lambda args: iter([good]))
    assert shufflenet('doctor').out.startswith('nothing is wrong\n')
    assert "'a b': expected a full name" in shufflenet('doctor', '--image-topic', 'a b', status=2).err
    assert shufflenet('doctor', '--json').lines == [{'ok': True, 'checks': [good.as_json()]}]
