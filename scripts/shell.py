"""Run programs, make virtual environments and call pip, with errors a person can act on."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections.abc import Mapping, Sequence
from pathlib import Path

# The ROS wheels re-exec each Python once to set LD_LIBRARY_PATH and leave a guard in the environment;
# a child in another virtual environment would inherit both and look for its libraries here.
ROS_WHEEL_VARIABLES = ('_ROS_WHEELS_BOOTSTRAP_COMPLETE', 'LD_LIBRARY_PATH')
PYTHON_VARIABLES = ('PYTHONPATH', 'PYTHONHOME', 'VIRTUAL_ENV', 'AMENT_PREFIX_PATH', 'CMAKE_PREFIX_PATH')


class SetupError(Exception):
    """Set-up can't go on; the message says what was found, what is needed and what to do."""


def clean_environment(**extra: str) -> dict[str, str]:
    """The environment without what belongs to another virtual environment, plus `extra`."""
    unwanted = (*ROS_WHEEL_VARIABLES, *PYTHON_VARIABLES)
    return {**{key: value for key, value in os.environ.items() if key not in unwanted}, **extra}


def run(command: Sequence[object], env: Mapping[str, str] | None = None, cwd: Path | None = None) -> str:
    """Run a program and return its standard output; raise SetupError with its last lines if it fails."""
    words = [str(word) for word in command]
    done = subprocess.run(words, env=env or clean_environment(), cwd=cwd, text=True,
                          stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode:
        tail = '\n'.join((done.stdout + done.stderr).splitlines()[-25:])
        raise SetupError(f'this command failed with exit status {done.returncode}:\n'
                         f'  {" ".join(words)}\n{tail}')
    return done.stdout


def make_venv(path: Path, system_site_packages: bool = False) -> Path:
    """Create a virtual environment of the running interpreter at `path` (kept if it is there)."""
    if not (path / 'bin/python').exists():
        venv.EnvBuilder(with_pip=True, symlinks=True, system_site_packages=system_site_packages).create(path)
    return path


def pip_install(environment: Path, *arguments: str) -> None:
    """`pip install` into the virtual environment `environment`."""
    run([environment / 'bin/python', '-m', 'pip', 'install', '--quiet', '--disable-pip-version-check',
         *arguments])
