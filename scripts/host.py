# SPDX-License-Identifier: Apache-2.0
"""What machine this is, and whether setup can work here. Nothing is changed."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from shell import SetupError

Which = Callable[[str], str | None]
OLDEST, NEWEST = (3, 10), (3, 13)

ROBOT_COMMANDS = """\
  cd <workspace> && rosdep install --ignore-src --from-paths src/shufflenet_ros src/shufflenet_ros/interfaces
  python3 -m pip install --user --no-deps onnxruntime  # Ubuntu 24.04 and later: also --break-system-packages
  colcon build --base-paths src/shufflenet_ros src/shufflenet_ros/interfaces
  source install/setup.bash && ros2 launch shufflenet_ros classify.launch.py"""


def check_python(version: Sequence[int], which: Which = shutil.which) -> None:
    """Raise SetupError for a Python that has no ROS wheels and that nothing was tested on."""
    if OLDEST <= tuple(version[:2]) <= NEWEST:
        return
    names = [f'python3.{minor}' for minor in range(NEWEST[1], OLDEST[1] - 1, -1)]
    present = next(filter(which, names), '')
    remedy = f'run `PYTHON={present} make setup`' if present else f'install one of {", ".join(names)}'
    raise SetupError(f'this is Python {version[0]}.{version[1]}; shufflenet_ros needs '
                     f'{OLDEST[0]}.{OLDEST[1]} to {NEWEST[0]}.{NEWEST[1]}: {remedy}')


def distribution(environ: Mapping[str, str], clone: Path) -> str | None:
    """The ROS distribution that is sourced in this shell, or None.

    An AMENT_PREFIX_PATH with only folders of the clone (.venv) is ours, not a distribution's.
    """
    if environ.get('ROS_DISTRO'):
        return environ['ROS_DISTRO']
    prefixes = [Path(prefix) for prefix in environ.get('AMENT_PREFIX_PATH', '').split(':') if prefix]
    return next((f'at {prefix}' for prefix in prefixes if clone not in prefix.parents), None)


def check_wheels_exist(machine: str) -> None:
    """Raise SetupError for a processor that pip has no ROS wheels for."""
    if machine != 'x86_64':
        raise SetupError(
            f'this is {machine}, and pip has ROS 2 only for x86_64. Install ROS 2 from its distribution '
            'and source it, then either run `make setup` again (it then uses that rclpy) or build with '
            f'colcon:\n{ROBOT_COMMANDS}')


def check_tools(which: Which, header: Path, ensurepip: bool) -> None:
    """Raise SetupError if a tool is missing that compiling the messages needs."""
    python = header.parent.name
    needed = (
        (which('cmake'), 'cmake (3.20 or newer)', 'cmake'),
        (which('g++') or which('c++'), 'a C++ compiler', 'g++'),
        (which('make') or which('ninja'), 'make', 'make'),
        (header.is_file(), f'{python} headers ({header})', f'{python}-dev'),
        (ensurepip, f'{python} venv with pip', f'{python}-venv'),
    )
    missing = {what: package for found, what, package in needed if not found}
    if missing:
        raise SetupError(f'missing: {", ".join(missing)}. On Debian or Ubuntu: '
                         f'sudo apt install {" ".join(missing.values())}')


def find_python(version: str) -> str | None:
    """A working interpreter of that version ('3.10'), on PATH or from pyenv; None if there is none."""
    pyenv = Path(os.environ.get('PYENV_ROOT') or Path.home() / '.pyenv')
    candidates = [shutil.which(f'python{version}'),
                  *sorted(pyenv.glob(f'versions/{version}.*/bin/python{version}'))]
    for candidate in filter(None, candidates):
        # pyenv puts a shim on PATH even for a version that is switched off; such a shim only fails.
        if not subprocess.run([candidate, '-c', ''], capture_output=True, check=False).returncode:
            return str(candidate)
    return None
