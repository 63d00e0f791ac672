# SPDX-License-Identifier: Apache-2.0
"""Build this project's ROS messages into one wheel, for machines whose ROS comes from pip.

pip has neither vision_msgs nor our own messages. cmake compiles both against the ROS wheels in a build
environment. Any environment with the same wheels can install the result without a compiler.

Beside a distribution, cmake installs what the distribution lacks straight into .venv.
"""

from __future__ import annotations

import os
import platform
import shutil
import sysconfig
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from shell import CACHE, ROOT, clean_environment, digest, ensure, install_lists, lists, run

NAME = 'shufflenet_ros_pip_messages'
VERSION = '0.1.0'
PACKAGES = ('interfaces/pip/vision_msgs', 'interfaces/shufflenet_ros_msgs')
PYTHON_TAG = f'cp{sysconfig.get_config_var("py_version_nodot")}'
WHEEL_TAG = f'{PYTHON_TAG}-{PYTHON_TAG}-linux_{platform.machine()}'


def message_wheel(distro: str) -> Path:
    """The wheel for this Python and the ROS wheels of one distribution, from .cache or newly built."""
    requirements = lists(f'ros-{distro}', f'ros-{distro}-build')
    # The local part of the version changes with any source, so that pip sees a new build.
    version = f'{VERSION}+{distro}.{digest([*sources(PACKAGES), *requirements])[:10]}'
    wheel = CACHE / 'messages' / f'{NAME}-{version}-{WHEEL_TAG}.whl'
    if wheel.is_file():
        return wheel
    venv = build_environment(distro)
    wheel.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix='messages-', dir=wheel.parent) as name:
        folder = Path(name)
        compile_packages(PACKAGES, venv, folder, folder / 'prefix', build_variables(venv))
        pack(venv, folder, version)
        os.replace(folder / wheel.name, wheel)
    return wheel


def sources(packages: Sequence[str]) -> list[Path]:
    """The files that the messages of these packages are built from, with this one."""
    found = [path for package in packages for path in sorted((ROOT / package).rglob('*')) if path.is_file()]
    return [*found, Path(__file__)]


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
    """Replace the include paths of the machine that built the ROS wheels by those of this machine.

    The wheels' cmake exports name the Python and NumPy headers by their paths there, and cmake stops at a
    path that doesn't exist.
    """
    numpy = run([venv / 'bin/python', '-c', 'import numpy; print(numpy.get_include())']).strip()
    python = Path(sysconfig.get_path('include'))
    built_at = f'/opt/python/{PYTHON_TAG}-{PYTHON_TAG}'
    for export in venv.glob('share/*/cmake/*Export.cmake'):
        text = export.read_text()
        for core in ('_core', 'core'):
            text = text.replace(f'{built_at}/lib/{python.name}/site-packages/numpy/{core}/include', numpy)
        export.write_text(text.replace(f'{built_at}/include/{python.name}', str(python)))


def build_variables(venv: Path) -> dict[str, str]:
    """Environment variables with which cmake and colcon find the ROS wheels of a build environment."""
    return clean_environment(
        PATH=f'{venv}/bin{os.pathsep}{os.environ["PATH"]}',
        AMENT_PREFIX_PATH=str(venv), CMAKE_PREFIX_PATH=str(venv), LD_LIBRARY_PATH=str(venv / 'lib'),
        PYTHONPATH=str(next(venv.glob('lib/python3*/site-packages'))))


def compile_packages(packages: Sequence[str], venv: Path, folder: Path, prefix: Path,
                     variables: Mapping[str, str]) -> None:
    """Build packages in `folder`, side by side, and install them into `prefix`."""
    def compile_one(package: str) -> None:
        build = folder / Path(package).name
        run(['cmake', '-S', ROOT / package, '-B', build, f'-DPython3_EXECUTABLE={venv}/bin/python',
             f'-DCMAKE_INSTALL_PREFIX={prefix}', '-DCMAKE_BUILD_TYPE=Release', '-DBUILD_TESTING=OFF',
             # Where lib/ is, seen from itself and from lib/python3.x/site-packages/<package>.
             '-DCMAKE_INSTALL_RPATH=$ORIGIN:$ORIGIN/../../..'], env=variables)
        run(['cmake', '--build', build, '--parallel', '2'], env=variables)
        run(['cmake', '--install', build, '--strip'], env=variables)

    with ThreadPoolExecutor(len(packages)) as pool:
        list(pool.map(compile_one, packages))


# ROS opens these libraries by their bare name, which finds only loaded ones outside LD_LIBRARY_PATH.
PRELOAD = """
import ctypes
from pathlib import Path

for library in sorted(Path(__file__).parents[3].glob('lib%s__rosidl_typesupport_*.so')):
    ctypes.CDLL(str(library))
"""


def install_beside_distribution(packages: Sequence[str], venv: Path) -> None:
    """Compile packages against the sourced distribution, and install them into `venv`.

    Raises:
        SetupError: the distribution lacks what that needs.
    """
    with tempfile.TemporaryDirectory(prefix='messages-') as folder:
        compile_packages(packages, venv, Path(folder), venv, os.environ)
    for name in (Path(package).name for package in packages):
        for package in venv.glob(f'lib/python3*/site-packages/{name}/__init__.py'):
            package.write_text(PRELOAD % name)


def pack(venv: Path, folder: Path, version: str) -> None:
    """Make a wheel of `folder`/prefix: Python packages at the top, lib/*.so and share/ as data files."""
    prefix, tree = folder / 'prefix', folder / 'tree'
    site = next(path for name in ('site-packages', 'dist-packages') for path in prefix.rglob(name))
    shutil.copytree(site, tree, ignore=shutil.ignore_patterns('__pycache__'))
    data = tree / f'{NAME}-{version}.data/data'
    shutil.copytree(prefix / 'share', data / 'share')
    (data / 'lib').mkdir()
    for library in (prefix / 'lib').glob('*.so*'):
        shutil.copy(library, data / 'lib')
    info = tree / f'{NAME}-{version}.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text(
        f'Metadata-Version: 2.1\nName: {NAME}\nVersion: {version}\nLicense: Apache-2.0\n'
        'Summary: shufflenet_ros_msgs and vision_msgs, built against ROS wheels\n')
    (info / 'WHEEL').write_text(
        f'Wheel-Version: 1.0\nGenerator: shufflenet_ros\nRoot-Is-Purelib: false\nTag: {WHEEL_TAG}\n')
    run([venv / 'bin/python', '-m', 'wheel', 'pack', tree, '--dest-dir', folder])
