"""Build this project's ROS messages into one wheel, for machines whose ROS comes from pip.

pip has no vision_msgs, and our own messages have no distribution either. Both are compiled here with
plain cmake against the ROS wheels in a throwaway virtual environment, and packed so that any
environment with the same wheels can install them without a compiler or an environment variable.
"""

from __future__ import annotations

import base64
import hashlib
import os
import platform
import sysconfig
import tempfile
import zipfile
from collections.abc import Callable, Iterator
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
    """What goes into the wheel: everything that, when changed, asks for another build."""

    root: Path
    distro: str  # of the ROS wheels it is built against
    requirements: tuple[Path, ...]  # their names and versions

    def version(self) -> str:
        """The wheel's version; its local part changes with any source, so that pip sees a new build."""
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
        pack(place / 'prefix', plan, place / wheel.name)
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


def pack(prefix: Path, plan: WheelPlan, wheel: Path) -> None:
    """Write an installed prefix as a wheel: Python packages on top, lib/*.so and share/ as data files."""
    info = f'{NAME}-{plan.version()}.dist-info'
    texts = {
        f'{info}/METADATA': f'Metadata-Version: 2.1\nName: {NAME}\nVersion: {plan.version()}\n'
                            'Summary: shufflenet_ros_msgs and vision_msgs, built against ROS wheels\n'
                            'License: Apache-2.0\n',
        f'{info}/WHEEL': 'Wheel-Version: 1.0\nGenerator: shufflenet_ros\nRoot-Is-Purelib: false\n'
                         f'Tag: {plan.tag()}\n',
    }
    files = [*_installed_files(prefix, f'{NAME}-{plan.version()}.data/data'),
             *((name, text.encode()) for name, text in texts.items())]
    with zipfile.ZipFile(wheel, 'w', zipfile.ZIP_DEFLATED) as archive:
        record = ''
        for name, data in files:
            archive.writestr(name, data)
            hashed = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()
            record += f'{name},sha256={hashed},{len(data)}\n'
        archive.writestr(f'{info}/RECORD', f'{record}{info}/RECORD,,\n')


def _installed_files(prefix: Path, data: str) -> Iterator[tuple[str, bytes]]:
    site = next(path for name in ('site-packages', 'dist-packages') for path in prefix.rglob(name))
    for path in sorted(site.rglob('*')):
        if path.is_file() and '__pycache__' not in path.parts:
            yield path.relative_to(site).as_posix(), path.read_bytes()
    for path in [*sorted((prefix / 'lib').glob('*.so*')), *sorted((prefix / 'share').rglob('*'))]:
        if path.is_file():
            yield f'{data}/{path.relative_to(prefix).as_posix()}', path.read_bytes()
