# SPDX-License-Identifier: Apache-2.0
"""Run programs, make virtual environments and call pip, with errors that a user can act on."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / '.venv'
CACHE = ROOT / '.cache'
LISTS = ROOT / 'scripts/requirements'
CONSTRAINTS = LISTS / 'constraints.txt'

# The ROS wheels restart each Python once to set LD_LIBRARY_PATH, and leave a marker in the environment.
# A child process in another virtual environment would inherit both and look for its libraries here.
FOREIGN_VARIABLES = ('_ROS_WHEELS_BOOTSTRAP_COMPLETE', 'LD_LIBRARY_PATH', 'PYTHONPATH', 'PYTHONHOME',
                     'VIRTUAL_ENV', 'AMENT_PREFIX_PATH', 'CMAKE_PREFIX_PATH', 'ROS_DISTRO')


class SetupError(Exception):
    """Setup can't go on. The message says what was found, what is needed and what to do."""


def clean_environment(**extra: str) -> dict[str, str]:
    """The environment variables without those of another virtual environment, plus `extra`."""
    return {**{key: value for key, value in os.environ.items() if key not in FOREIGN_VARIABLES}, **extra}


def run(command: Sequence[object], env: Mapping[str, str] | None = None, cwd: Path | None = None) -> str:
    """Run a program and return its standard output. If it fails, raise SetupError with its last lines."""
    words = [str(word) for word in command]
    done = subprocess.run(words, env=env or clean_environment(), cwd=cwd, text=True,
                          stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode:
        tail = '\n'.join((done.stdout + done.stderr).splitlines()[-25:])
        raise SetupError(f'this command failed with exit status {done.returncode}:\n'
                         f'  {" ".join(words)}\n{tail}')
    return done.stdout


def pip_install(venv: Path, *arguments: object) -> None:
    """`pip install` into a virtual environment."""
    run([venv / 'bin/python', '-m', 'pip', 'install', '--quiet', '--no-compile',
         '--disable-pip-version-check', *arguments])


def lists(*names: str) -> list[Path]:
    """Requirement files by name."""
    return [LISTS / f'{name}.txt' for name in names]


def install_lists(venv: Path, files: Sequence[Path], *arguments: object) -> None:
    """`pip install -r` each of the files, within the constraints."""
    pip_install(venv, '-c', constraints(venv), *arguments, *(word for file in files for word in ('-r', file)))


def constraints(venv: Path) -> Path:
    """The versions that pip may install: the pinned ones, or those that fit the system's NumPy.

    Beside a distribution its NumPy stays, because its OpenCV and its messages were built for that version.
    What pip adds has the newest version that works with it.
    """
    if not sees_system(venv):
        return CONSTRAINTS
    path = venv / 'constraints.txt'
    version = run([venv / 'bin/python', '-c', 'import numpy; print(numpy.__version__)']).strip()
    path.write_text(f'numpy=={version}\n')
    return path


def sees_system(venv: Path) -> bool:
    """Whether the packages of the system's Python can be imported in this virtual environment."""
    config = venv / 'pyvenv.cfg'
    return config.is_file() and 'include-system-site-packages = true' in config.read_text()


def digest(parts: Iterable[Path | str]) -> str:
    """A hash of files (name and content) and strings."""
    total = hashlib.sha256()
    for part in parts:
        data = part.name.encode() + b'\0' + part.read_bytes() if isinstance(part, Path) else part.encode()
        total.update(data + b'\0')
    return total.hexdigest()


def python_version(venv: Path) -> str:
    """The '3.11' that an environment was made with; '' if `venv` is not a virtual environment."""
    config = venv / 'pyvenv.cfg'
    found = config.is_file() and re.search(r'^version *= *(\d+\.\d+)', config.read_text(), re.MULTILINE)
    return found[1] if found else ''


def ensure(venv: Path, layer: str, inputs: Iterable[Path | str], fill: Callable[[Path], None],
           python: str = sys.executable, options: Sequence[str] = ()) -> None:
    """Make the virtual environment `venv` if it is missing, and let `fill` install one layer into it.

    A stamp file in the environment has a hash of the layer's inputs. Nothing is done while it is the same.
    An environment of another Python version is replaced.
    """
    version = run([python, '-c', 'import sys; print("%d.%d" % sys.version_info[:2])']).strip()
    if venv.exists() and python_version(venv) != version:
        if not (venv / 'pyvenv.cfg').is_file():
            raise SetupError(f'{venv} is not a virtual environment, so it is left alone: move it away')
        shutil.rmtree(venv)
    if not (venv / 'bin/python').exists():
        run([python, '-m', 'venv', *options, venv])
    stamp, wanted = venv / f'filled-{layer}', digest(inputs)
    if not stamp.is_file() or stamp.read_text() != wanted:
        stamp.unlink(missing_ok=True)
        fill(venv)
        stamp.write_text(wanted)
