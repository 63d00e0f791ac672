"""The project's virtual environments: what goes into each, and when it has to be filled again.

`.venv` is the one that people use. The others lie in .cache and serve the build and the tests: one that
compiles ROS messages for each distribution, one with Jazzy's ROS, and one with the Python packages of each
Ubuntu that a robot runs.
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
# What an installed package is made of that its links to the source tree don't follow: the C library is built.
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
    """Install shufflenet_ros so that it follows the source tree, with its runtime libraries.

    pip's editable install has no share/, where ROS tools look for launch files, parameters and models:
    links stand in for it, as `colcon build --symlink-install` makes them.
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
    """Make `path` a symbolic link to `target`, whatever link was there."""
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
    """Rewrite the include paths of the wheels' build machine to those of this one.

    The ROS wheels' cmake exports name the Python and NumPy headers where they lay when the wheels were
    made; here they lie elsewhere, and cmake refuses a path that doesn't exist.
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
    """The wheel with shufflenet_ros_msgs and vision_msgs for one distribution, built or from .cache."""
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
    """An environment with the versions of Ubuntu's Python packages; None where its Python is missing.

    ONNX Runtime comes on top as README installs it: alone, so that NumPy stays Ubuntu's.
    """
    python = find_python(UBUNTU[name])
    if python is None:
        return None
    files = lists(f'ubuntu-{name}', 'test-ros')

    def fill(venv: Path) -> None:
        # For a PyYAML that has no wheel here: its own wish for Cython brings one that cannot build it.
        pip_install(venv, 'setuptools<70', 'wheel')
        # Without the constraints, which name the newest. The package's tree is on the path instead.
        pip_install(venv, '--no-build-isolation', *(word for file in files for word in ('-r', file)))
        pip_install(venv, '-c', CONSTRAINTS, '--no-deps', 'onnxruntime')

    venv = CACHE / name
    ensure(venv, 'test', [*files, CONSTRAINTS], fill, python=python)
    return venv
