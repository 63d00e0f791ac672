# SPDX-License-Identifier: Apache-2.0
"""Build this project's ROS messages into one wheel, for machines whose ROS comes from pip.

pip has neither vision_msgs nor our own messages. cmake compiles both against the ROS wheels in a build
environment. Any environment with the same wheels can install the result without a compiler.
"""

from __future__ import annotations

import os
import platform
import shutil
import sysconfig
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from shell import clean_environment, digest, run

NAME = 'shufflenet_ros_pip_messages'
VERSION = '0.1.0'
PACKAGES = ('interfaces/pip/vision_msgs', 'interfaces/shufflenet_ros_msgs')
PYTHON_TAG = f'cp{sysconfig.get_config_var("py_version_nodot")}'


@dataclass(frozen=True)
class WheelPlan:
    """What goes into the wheel. A change of any of it needs another build."""

    root: Path
    distro: str  # of the ROS wheels it is built against
    requirements: tuple[Path, ...]  # their names and versions

    def version(self) -> str:
        """The wheel's version. Its local part changes with any source, so that pip sees a new build."""
        sources = [path for package in PACKAGES for path in sorted((self.root / package).rglob('*'))]
        files = [path for path in sources if path.is_file()]
        return f'{VERSION}+{self.distro}.{digest([*files, *self.requirements, Path(__file__)])[:10]}'

    def tag(self) -> str:
        """Which interpreters and machines the wheel is for."""
        return f'{PYTHON_TAG}-{PYTHON_TAG}-linux_{platform.machine()}'


def message_wheel(plan: WheelPlan, cache: Path, build_environment: Callable[[], Path]) -> Path:
    """The wheel for the running interpreter, built on the first call and taken from `cache` later."""
    wheel = cache / f'{NAME}-{plan.version()}-{plan.tag()}.whl'
    if wheel.is_file():
        return wheel
    venv = build_environment()
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix='messages-', dir=cache) as scratch:
        place = Path(scratch)
        compile_packages(plan.root, venv, place)
        pack(place / 'prefix', plan, venv, place)
        os.replace(place / wheel.name, wheel)
    return wheel


def build_variables(venv: Path) -> dict[str, str]:
    """Environment variables with which cmake and colcon find the ROS wheels of a build environment."""
    return clean_environment(
        PATH=f'{venv}/bin{os.pathsep}{os.environ["PATH"]}',
        AMENT_PREFIX_PATH=str(venv), CMAKE_PREFIX_PATH=str(venv), LD_LIBRARY_PATH=str(venv / 'lib'),
        PYTHONPATH=str(next(venv.glob('lib/python3*/site-packages'))))


def compile_packages(root: Path, venv: Path, place: Path) -> None:
    """Build and install every package of `PACKAGES` into `place`/prefix, side by side."""
    variables = build_variables(venv)

    def compile_one(package: str) -> None:
        build = place / Path(package).name
        run(['cmake', '-S', root / package, '-B', build, f'-DPython3_EXECUTABLE={venv}/bin/python',
             f'-DCMAKE_INSTALL_PREFIX={place}/prefix', '-DCMAKE_BUILD_TYPE=Release',
             '-DBUILD_TESTING=OFF'], env=variables)
        run(['cmake', '--build', build, '--parallel', '2'], env=variables)
        run(['cmake', '--install', build, '--strip'], env=variables)

    with ThreadPoolExecutor(len(PACKAGES)) as pool:
        list(pool.map(compile_one, PACKAGES))


def pack(prefix: Path, plan: WheelPlan, venv: Path, place: Path) -> None:
    """Make a wheel of an installed prefix: Python packages on top, lib/*.so and share/ as data files."""
    tree = place / 'tree'
    site = next(path for name in ('site-packages', 'dist-packages') for path in prefix.rglob(name))
    shutil.copytree(site, tree, ignore=shutil.ignore_patterns('__pycache__'))
    data = tree / f'{NAME}-{plan.version()}.data/data'
    shutil.copytree(prefix / 'share', data / 'share')
    (data / 'lib').mkdir()
    for library in (prefix / 'lib').glob('*.so*'):
        shutil.copy(library, data / 'lib')
    info = tree / f'{NAME}-{plan.version()}.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text(
        f'Metadata-Version: 2.1\nName: {NAME}\nVersion: {plan.version()}\nLicense: Apache-2.0\n'
        'Summary: shufflenet_ros_msgs and vision_msgs, built against ROS wheels\n')
    (info / 'WHEEL').write_text(
        f'Wheel-Version: 1.0\nGenerator: shufflenet_ros\nRoot-Is-Purelib: false\nTag: {plan.tag()}\n')
    run([venv / 'bin/python', '-m', 'wheel', 'pack', tree, '--dest-dir', place])
