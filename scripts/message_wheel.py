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
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from shell import clean_environment, make_venv, pip_install, run

NAME = 'shufflenet_ros_pip_messages'
VERSION = '0.1.0'
PACKAGES = ('interfaces/pip/vision_msgs', 'interfaces/shufflenet_ros_msgs')


@dataclass(frozen=True)
class WheelPlan:
    """What goes into the wheel: everything that, when changed, asks for another build."""

    root: Path
    runtime: Path  # requirements file of the ROS wheels it is built against
    build: Path  # requirements file of the ROS build wheels

    def sources(self) -> list[Path]:
        """Every file that the wheel's content depends on, in a fixed order."""
        interfaces = [path for package in PACKAGES for path in sorted((self.root / package).rglob('*'))]
        return [path for path in interfaces if path.is_file()] + [self.runtime, self.build, Path(__file__)]

    def digest(self) -> str:
        """Ten hex digits over names and contents of `sources`."""
        total = hashlib.sha256()
        for path in self.sources():
            total.update(path.name.encode() + b'\0' + path.read_bytes() + b'\0')
        return total.hexdigest()[:10]

    def file_name(self) -> str:
        """The wheel's name; the digest is its local version, so that pip sees a changed build as new."""
        python = f'cp{sys.version_info.major}{sys.version_info.minor}'
        return f'{NAME}-{VERSION}+{self.digest()}-{python}-{python}-linux_{platform.machine()}.whl'


def message_wheel(plan: WheelPlan, cache: Path) -> Path:
    """The wheel for the running interpreter, built on the first call and taken from `cache` later."""
    wheel = cache / plan.file_name()
    if wheel.is_file():
        return wheel
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix='messages-', dir=cache) as scratch:
        place = Path(scratch)
        venv = make_venv(place / 'venv')
        pip_install(venv, '-r', str(plan.runtime), '-r', str(plan.build), 'numpy')
        point_exports_here(venv)
        compile_packages(plan, venv, place)
        unfinished = place / wheel.name
        pack(place / 'prefix', plan, unfinished)
        os.replace(unfinished, wheel)
    return wheel


def point_exports_here(venv: Path) -> None:
    """Rewrite the include paths of the wheels' build machine to those of the running interpreter.

    The ROS wheels' cmake exports name the Python and NumPy headers where they lay when the wheels were
    made; here they lie elsewhere, and cmake refuses a path that doesn't exist.
    """
    script = 'import numpy, sysconfig; print(sysconfig.get_path("include")); print(numpy.get_include())'
    python_include, numpy_include = run([venv / 'bin/python', '-c', script]).split('\n')[:2]
    python = f'cp{sys.version_info.major}{sys.version_info.minor}'
    prefix = f'/opt/python/{python}-{python}'
    for export in venv.glob('share/*/cmake/*Export.cmake'):
        words = export.read_text().split('"')
        moved = '"'.join(';'.join(_moved(path, prefix, python_include, numpy_include)
                                  for path in word.split(';')) for word in words)
        export.write_text(moved)


def _moved(path: str, prefix: str, python_include: str, numpy_include: str) -> str:
    if path.startswith(prefix) and path.endswith('/numpy/_core/include'):
        return numpy_include
    if path.startswith(prefix + '/include/'):
        return python_include
    return path


def compile_packages(plan: WheelPlan, venv: Path, place: Path) -> None:
    """Build and install every package of `PACKAGES` into `place`/prefix, side by side."""
    environment = clean_environment(
        PATH=f'{venv}/bin{os.pathsep}{os.environ["PATH"]}',
        AMENT_PREFIX_PATH=str(venv), CMAKE_PREFIX_PATH=str(venv), LD_LIBRARY_PATH=str(venv / 'lib'),
        PYTHONPATH=str(next(venv.glob('lib/python3*/site-packages'))))

    def compile_one(package: str) -> None:
        build = place / 'build' / Path(package).name
        run(['cmake', '-S', plan.root / package, '-B', build, f'-DPython3_EXECUTABLE={venv}/bin/python',
             f'-DCMAKE_INSTALL_PREFIX={place}/prefix', '-DCMAKE_BUILD_TYPE=Release',
             '-DBUILD_TESTING=OFF'], env=environment)
        run(['cmake', '--build', build, '--parallel', '2'], env=environment)
        run(['cmake', '--install', build, '--strip'], env=environment)

    with ThreadPoolExecutor(len(PACKAGES)) as pool:
        for _ in pool.map(compile_one, PACKAGES):
            pass


def pack(prefix: Path, plan: WheelPlan, wheel: Path) -> None:
    """Write an installed prefix as a wheel: Python packages on top, lib/*.so and share/ as data files."""
    tag = '-'.join(plan.file_name()[:-len('.whl')].split('-')[2:])
    version = f'{VERSION}+{plan.digest()}'
    info = f'{NAME}-{version}.dist-info'
    texts = {
        f'{info}/METADATA': f'Metadata-Version: 2.1\nName: {NAME}\nVersion: {version}\n'
                            'Summary: shufflenet_ros_msgs and vision_msgs, built against ROS wheels\n'
                            'License: Apache-2.0\n',
        f'{info}/WHEEL': 'Wheel-Version: 1.0\nGenerator: shufflenet_ros\nRoot-Is-Purelib: false\n'
                         f'Tag: {tag}\n',
    }
    with zipfile.ZipFile(wheel, 'w', zipfile.ZIP_DEFLATED) as archive:
        record = []
        for name, data in [*_installed_files(prefix, f'{NAME}-{version}.data/data'),
                           *((name, text.encode()) for name, text in texts.items())]:
            archive.writestr(name, data)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()
            record.append(f'{name},sha256={digest},{len(data)}\n')
        archive.writestr(f'{info}/RECORD', ''.join(record) + f'{info}/RECORD,,\n')


def _installed_files(prefix: Path, data: str) -> Iterator[tuple[str, bytes]]:
    site = next(path for name in ('site-packages', 'dist-packages') for path in prefix.rglob(name))
    for path in sorted(site.rglob('*')):
        if path.is_file() and '__pycache__' not in path.parts:
            yield path.relative_to(site).as_posix(), path.read_bytes()
    for path in [*sorted((prefix / 'lib').glob('*.so*')), *sorted((prefix / 'share').rglob('*'))]:
        if path.is_file():
            yield f'{data}/{path.relative_to(prefix).as_posix()}', path.read_bytes()
