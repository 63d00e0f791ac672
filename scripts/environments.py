# SPDX-License-Identifier: Apache-2.0
"""The project's virtual environments: what goes into each, and when it has to be filled again.

People use `.venv`. The others lie in .cache and serve the build and the tests: for each distribution one that
compiles ROS messages, one with Jazzy's ROS, and one for each Ubuntu release with its Python packages.
"""

from __future__ import annotations

import platform
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from host import find_python
from message_wheel import WheelPlan, message_wheel
from shell import ROOT, ensure, pip_install, run

VENV = ROOT / '.venv'
CACHE = ROOT / '.cache'
LISTS = ROOT / 'scripts/requirements'
CONSTRAINTS = LISTS / 'constraints.txt'
# An editable install doesn't follow changes of these: its metadata, and the C library that is built.
PACKAGE = ('setup.py', 'setup.cfg', 'package.xml',
           *sorted(str(path.relative_to(ROOT)) for path in (ROOT / 'native').rglob('*')
                   if path.suffix in ('.c', '.h', '.py')))
# The Ubuntu releases that robots run, Humble's and that of Jazzy and Kilted, with their Python.
UBUNTU = {'jammy': '3.10', 'noble': '3.12'}
WHEELS_EXIST = platform.machine() == 'x86_64'  # of ROS, on pip


def lists(*names: str) -> list[Path]:
    """Requirement files by name."""
    return [LISTS / f'{name}.txt' for name in names]


def install_lists(venv: Path, files: Sequence[Path], *arguments: object) -> None:
    """`pip install -r` each of the files, within the constraints."""
    pip_install(venv, '-c', CONSTRAINTS, *arguments, *(word for file in files for word in ('-r', file)))


def install_package(venv: Path) -> None:
    """Install shufflenet_ros as editable, with its runtime libraries.

    ROS tools look for launch files, parameters and models in share/, which pip's editable install lacks.
    Links stand in for it, as `colcon build --symlink-install` makes them.
    """
    pip_install(venv, '-c', CONSTRAINTS, '-e', f'{ROOT}[bags]')
    share = venv / 'share'
    index = share / 'ament_index/resource_index/packages'
    ours = share / 'shufflenet_ros'
    for folder in (index, ours):
        folder.mkdir(parents=True, exist_ok=True)
    link(ROOT / 'resource/shufflenet_ros', index / 'shufflenet_ros')
    for name in ('package.xml', 'launch', 'config', 'models'):
        link(ROOT / name, ours / name)


def link(target: Path, path: Path) -> None:
    """Make `path` a symbolic link to `target`; an older link is replaced."""
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def build_environment(distro: str) -> Path:
    """The environment that compiles ROS messages against the wheels of one distribution."""
    venv = CACHE / f'{distro}-build'
    files = lists(f'ros-{distro}', f'ros-{distro}-build')

    def fill(venv: Path) -> None:
        install_lists(venv, files, 'numpy')
        point_exports_here(venv)

    ensure(venv, 'runtime', files, fill)
    return venv


def point_exports_here(venv: Path) -> None:
    """Rewrite the include paths of the machine that built the ROS wheels to those of this one.

    The wheels' cmake exports name the Python and NumPy headers by their paths there, and cmake stops at a
    path that doesn't exist.
    """
    numpy = run([venv / 'bin/python', '-c', 'import numpy; print(numpy.get_include())']).strip()
    python = sysconfig.get_path('include')
    tag = f'cp{sysconfig.get_config_var("py_version_nodot")}'
    elsewhere = f'/opt/python/{tag}-{tag}'
    for export in venv.glob('share/*/cmake/*Export.cmake'):
        text = export.read_text()
        for site in ('numpy/_core/include', 'numpy/core/include'):
            text = text.replace(f'{elsewhere}/lib/{Path(python).name}/site-packages/{site}', numpy)
        export.write_text(text.replace(f'{elsewhere}/include/{Path(python).name}', python))


def messages(distro: str) -> Path:
    """The wheel with shufflenet_ros_msgs and vision_msgs for one distribution, built if .cache lacks it."""
    plan = WheelPlan(ROOT, distro, tuple(lists(f'ros-{distro}', f'ros-{distro}-build')))
    return message_wheel(plan, CACHE / 'messages', lambda: build_environment(distro))


def colcon_environment() -> Path:
    """The Kilted build environment with colcon in it."""
    venv = build_environment('kilted')
    files = lists('colcon')
    ensure(venv, 'colcon', files, lambda venv: install_lists(venv, files))
    return venv


def jazzy_environment() -> Path:
    """An environment with Jazzy's rclpy, this package and what the ROS tests need."""
    files = lists('ros-jazzy', 'test-ros')
    wheel = messages('jazzy')

    def fill(venv: Path) -> None:
        install_lists(venv, files, wheel)
        install_package(venv)

    venv = CACHE / 'jazzy'
    ensure(venv, 'test', [*files, CONSTRAINTS, wheel.name, *(ROOT / name for name in PACKAGE)], fill)
    return venv


def ubuntu_environment(name: str) -> Path | None:
    """An environment with the versions of Ubuntu's Python packages; None if its Python is missing.

    ONNX Runtime is added as README does it: alone, so that Ubuntu's NumPy stays.
    """
    python = find_python(UBUNTU[name])
    if python is None:
        return None
    files = lists(f'ubuntu-{name}', 'test-ros')

    def fill(venv: Path) -> None:
        # PyYAML is built here, as it has no wheel. The Cython that it asks for can't build it.
        pip_install(venv, 'setuptools<70', 'wheel')
        # Without the constraints, which name newer versions. The package is on PYTHONPATH instead.
        pip_install(venv, '--no-build-isolation', *(word for file in files for word in ('-r', file)))
        pip_install(venv, '-c', CONSTRAINTS, '--no-deps', 'onnxruntime')

    venv = CACHE / name
    ensure(venv, 'test', [*files, CONSTRAINTS], fill, python=python)
    return venv
