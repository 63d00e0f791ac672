"""Imports point one way, checked on what really gets loaded: the run-time half of import-linter."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# What a room may load, of our own rooms and of the libraries that are kept apart.
ROOMS = {
    'core': set(),
    'backends': {'core', 'onnxruntime'},
    'bags': {'core', 'rosbags'},
    'sets': {'core', 'bags', 'rosbags'},
    'tools': {'core', 'backends', 'bags', 'sets', 'onnxruntime', 'rosbags'},
    'ros': {'core', 'backends', 'bags', 'onnxruntime', 'rosbags', 'rclpy'},
    'zoo': {'core', 'backends', 'bags', 'sets', 'onnxruntime', 'rosbags', 'onnx', 'torch'},
}
WATCHED = {*ROOMS, 'onnx', 'onnxruntime', 'rclpy', 'rosbags', 'torch'}

LOAD = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
print(*sorted(sys.modules))
"""


def loaded_by(room: str, package: Path) -> set[str]:
    """The watched rooms and libraries in sys.modules after every module of `room` was imported."""
    files = [path for path in sorted(package.glob(f'{room}/**/*.py')) if path.name != '__init__.py']
    names = ['.'.join(('shufflenet_ros', *path.relative_to(package).with_suffix('').parts)) for path in files]
    done = subprocess.run([sys.executable, '-c', LOAD, *names], cwd=package.parent, text=True,
                          capture_output=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert names, f'room {room} is empty'
    modules = done.stdout.split()
    rooms = {name.split('.')[1] for name in modules if name.startswith('shufflenet_ros.')}
    return (rooms | {name.split('.')[0] for name in modules}) & WATCHED


@pytest.mark.parametrize('room', ROOMS)
def test_a_room_loads_only_what_lies_below(room, repo_root):
    for library in ('rclpy',) if room == 'ros' else ('torch',) if room == 'zoo' else ():
        pytest.importorskip(library, reason=f'room {room} needs {library}')
    assert loaded_by(room, repo_root / 'shufflenet_ros') <= ROOMS[room] | {room}


def test_the_lowest_room_is_in_the_contract_of_every_other():
    assert all('core' in allowed for room, allowed in ROOMS.items() if room != 'core')
