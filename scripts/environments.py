# SPDX-License-Identifier: Apache-2.0
"""Install the package into .venv, and make the environments that tests need in .cache.

There is one with colcon, one with Jazzy's ROS, and one for each release of Ubuntu and Debian with its Python
packages.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

from message_wheel import build_environment, message_wheel
from shell import (
    CACHE,
    CONSTRAINTS,
    ROOT,
    constraints,
    ensure,
    install_lists,
    lists,
    pip_install,
    sees_system,
)

# An editable install doesn't follow changes of these: the sources of its metadata and of the C library.
PACKAGE = (CONSTRAINTS, *(ROOT / name for name in ('setup.py', 'setup.cfg', 'package.xml')),
           *sorted(path for path in (ROOT / 'native').rglob('*') if path.suffix in ('.c', '.h', '.py')))
# Releases and their Python: Ubuntu 22.04 (Humble) and 24.04 (Jazzy, Kilted), Debian 12 and 13 (Lyrical).
RELEASES = {'jammy': '3.10', 'noble': '3.12', 'bookworm': '3.11', 'trixie': '3.13'}
WHEELS_EXIST = platform.machine() == 'x86_64'  # ROS wheels on pip


def install_package(venv: Path) -> None:
    """Install shufflenet_ros as editable, with its runtime libraries.

    ROS tools look for launch files, parameters and models in share/, which pip's editable install lacks.
    Links stand in for it, as `colcon build --symlink-install` makes them.
    """
    if sees_system(venv):
        # As README does it on a robot. The distribution has the other libraries.
        pip_install(venv, '--no-deps', 'onnxruntime', '-e', ROOT)
        pip_install(venv, '-c', constraints(venv), 'rosbags')
    else:
        pip_install(venv, '-c', CONSTRAINTS, '-e', f'{ROOT}[bags]')
    share = venv / 'share'
    links = {share / 'ament_index/resource_index/packages/shufflenet_ros': ROOT / 'resource/shufflenet_ros'}
    for name in ('package.xml', 'launch', 'config', 'models'):
        links[share / 'shufflenet_ros' / name] = ROOT / name
    for link, target in links.items():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(target)


def colcon_environment() -> Path:
    """The Kilted build environment with colcon in it."""
    venv = build_environment('kilted')
    files = lists('colcon')
    ensure(venv, 'colcon', files, lambda venv: install_lists(venv, files))
    return venv


def jazzy_environment() -> Path:
    """An environment with Jazzy's rclpy, this package and what the ROS tests need."""
    files = lists('ros-jazzy', 'test-ros')
    wheel = message_wheel('jazzy')

    def fill(venv: Path) -> None:
        install_lists(venv, files, wheel)
        install_package(venv)

    venv = CACHE / 'jazzy'
    ensure(venv, 'test', [*files, wheel.name, *PACKAGE], fill)
    return venv


def find_python(version: str) -> str | None:
    """A working interpreter of that version ('3.10'), on PATH or from pyenv; None if there is none."""
    pyenv = Path(os.environ.get('PYENV_ROOT') or Path.home() / '.pyenv')
    candidates = [shutil.which(f'python{version}'),
                  *map(str, sorted(pyenv.glob(f'versions/{version}.*/bin/python{version}')))]
    for candidate in candidates:
        # pyenv puts a shim on PATH even for a version that is switched off; such a shim only fails.
        tried = candidate and subprocess.run([candidate, '-c', ''], capture_output=True, check=False)
        if tried and tried.returncode == 0:
            return candidate
    return None


def release_environment(name: str) -> Path | None:
    """An environment with the Python packages of a release; None if the release's Python is missing.

    ONNX Runtime is added as in README: without dependencies, so that the release's NumPy stays.
    """
    python = find_python(RELEASES[name])
    if python is None:
        return None
    files = lists(f'release-{name}', 'test-ros')

    def fill(venv: Path) -> None:
        # Jammy's PyYAML has no wheel and is built here. It can't be built with the Cython that it requires.
        pip_install(venv, 'setuptools<70', 'wheel')
        # Without the constraints, which name newer versions. The package is on PYTHONPATH instead.
        pip_install(venv, '--no-build-isolation', *(word for file in files for word in ('-r', file)))
        pip_install(venv, '-c', CONSTRAINTS, '--no-deps', 'onnxruntime')

    venv = CACHE / name
    ensure(venv, 'test', [*files, CONSTRAINTS], fill, python=python)
    return venv
