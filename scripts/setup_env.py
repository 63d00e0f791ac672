# SPDX-License-Identifier: Apache-2.0
"""Fill .venv: `python3 scripts/setup_env.py [demo|test]`, called by `make setup`, `make demo`, `make test`.

Without an argument .venv gets what the node needs; `demo` and `test` add their tools. If a ROS
distribution is sourced, its rclpy is used; otherwise ROS comes from pip. Whatever is up to date is skipped.
Only the standard library is needed.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import environments
from message_wheel import PACKAGES, install_beside_distribution, message_wheel, sources
from shell import (
    CONSTRAINTS,
    ROOT,
    VENV,
    SetupError,
    ensure,
    install_lists,
    lists,
    pip_install,
    python_version,
    run,
    sees_system,
)

DISTRO = 'kilted'
OLDEST, NEWEST = (3, 10), (3, 13)
BESIDE = ['--system-site-packages']  # how a .venv beside a distribution is made

ROBOT_COMMANDS = """\
  cd <workspace> && rosdep install --ignore-src --from-paths src src/shufflenet_ros/interfaces
  PIP_BREAK_SYSTEM_PACKAGES=1 python3 -m pip install --user --no-deps onnxruntime
  colcon build --base-paths src src/shufflenet_ros/interfaces
  source install/setup.bash && ros2 launch shufflenet_ros classify.launch.py"""


def check_python(version: Sequence[int], which: Callable[[str], str | None] = shutil.which,
                 distro: str | None = None) -> None:
    """Raise SetupError for a Python without ROS wheels, on which nothing was tested.

    A distribution brings its own Python, which may be newer.
    """
    if tuple(version[:2]) >= OLDEST and (distro or tuple(version[:2]) <= NEWEST):
        return
    names = [f'python3.{minor}' for minor in range(NEWEST[1], OLDEST[1] - 1, -1)]
    present = next(filter(which, names), '')
    remedy = f'run `PYTHON={present} make setup`' if present else f'install one of {", ".join(names)}'
    raise SetupError(f'this is Python {version[0]}.{version[1]}; shufflenet_ros needs '
                     f'{OLDEST[0]}.{OLDEST[1]} to {NEWEST[0]}.{NEWEST[1]}: {remedy}')


def distribution(environ: Mapping[str, str], clone: Path) -> str | None:
    """The ROS distribution that is sourced in this shell, or None.

    An AMENT_PREFIX_PATH with only folders of the clone comes from .venv, not from a distribution.
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
            'and source it, then either run the same command again (it then uses that rclpy) or build with '
            f'colcon:\n{ROBOT_COMMANDS}')


def check_build_tools() -> None:
    """Raise SetupError if a tool is missing here that compiling the messages needs."""
    header = Path(sysconfig.get_path('include')) / 'Python.h'
    check_tools(shutil.which, header, importlib.util.find_spec('ensurepip') is not None)


def check_tools(which: Callable[[str], str | None], header: Path, ensurepip: bool) -> None:
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


@contextmanager
def step(what: str) -> Iterator[None]:
    """Print how long a step took."""
    start = time.monotonic()
    yield
    print(f'setup: {what} ({time.monotonic() - start:.0f} s)', flush=True)


def set_up_runtime() -> None:
    """Install everything that the node and the command line need."""
    distro = distribution(os.environ, ROOT)
    if distro:
        use_distribution(distro)
    else:
        use_wheels()


def use_wheels() -> None:
    """Install ROS from pip, and compile our messages at the same time."""
    check_wheels_exist(platform.machine())
    check_build_tools()
    empty_unless([])
    files = lists(f'ros-{DISTRO}')

    def install_libraries(venv: Path) -> None:
        with step(f'ROS 2 {DISTRO.capitalize()}, NumPy, OpenCV, onnxruntime'):
            install_lists(venv, files)
            environments.install_package(venv)

    def build_messages() -> Path:
        with step('messages compiled'):
            return message_wheel(DISTRO)

    with ThreadPoolExecutor(1) as pool:
        wheel = pool.submit(build_messages)
        ensure(VENV, 'runtime', [*files, *environments.PACKAGE], install_libraries)
    ensure(VENV, 'messages', [wheel.result().name],
           lambda venv: pip_install(venv, '--no-deps', wheel.result()))


def empty_unless(options: Sequence[str]) -> None:
    """Empty a .venv that was made for the other source of ROS: pip, or a distribution."""
    if python_version(VENV) and sees_system(VENV) != (options == BESIDE):
        run([sys.executable, '-m', 'venv', '--clear', *options, VENV])


def use_distribution(distro: str) -> None:
    """Make a .venv that sees the distribution's Python packages, and install what it lacks.

    Raises:
        SetupError: the distribution's rclpy, NumPy or OpenCV can't be imported.
    """
    check_build_tools()
    empty_unless(BESIDE)
    ensure(VENV, 'python', [distro], lambda venv: check_distribution(distro, venv), options=BESIDE)

    def install_libraries(venv: Path) -> None:
        with step(f'libraries beside ROS {distro}'):
            environments.install_package(venv)

    def install_messages(venv: Path) -> None:
        with step(f'messages compiled against ROS {distro}'):
            install_beside_distribution(lacking, venv)

    ensure(VENV, 'runtime', [distro, *environments.PACKAGE], install_libraries)
    # What .venv has from an earlier run counts as lacking, so that it follows its sources.
    script = ('import importlib.util as u, sys\nfor name in sys.argv[1:]:\n    spec = u.find_spec(name)\n'
              '    if spec is None or str(spec.origin).startswith(sys.prefix): print(name)')
    names = {Path(package).name: package for package in PACKAGES}
    found = run([VENV / 'bin/python', '-c', script, *names], env=os.environ)
    lacking = [names[name] for name in found.split()]
    if lacking:
        ensure(VENV, 'messages', [distro, *sources(lacking)], install_messages)


def check_distribution(distro: str, venv: Path) -> None:
    """Raise SetupError for a module of the distribution that can't be imported."""
    for module, package in (('rclpy', 'ros-$ROS_DISTRO-ros-base'), ('numpy', 'python3-numpy'),
                            ('cv2', 'python3-opencv'), ('yaml', 'python3-yaml'), ('tqdm', 'python3-tqdm')):
        done = subprocess.run([venv / 'bin/python', '-c', f'import {module}'], text=True, capture_output=True,
                              check=False)
        if done.returncode:
            errors = re.findall(r'^\w*Error: .*$', done.stderr, re.MULTILINE) or [done.stderr[-500:].strip()]
            raise SetupError(
                f"ROS {distro} is sourced, but Python {platform.python_version()} can't import {module}: "
                f'{errors[-1]}. Run `sudo apt install {package}`, or choose the '
                "distribution's Python: `PYTHON=/usr/bin/python3 make setup`")


def set_up_demo() -> None:
    """Install what the demo adds."""
    files = lists('demo')

    def fill(venv: Path) -> None:
        with step('plot library of the demo'):
            install_lists(venv, files)

    ensure(VENV, 'demo', [*files, CONSTRAINTS], fill)


def set_up_test() -> None:
    """Install test tools and torch in .venv, and fill the other environments that tests run in."""
    set_up_demo()
    files, bare = lists('test'), lists('compare', 'teacher')

    def fill(venv: Path) -> None:
        with step('test tools and torch'):
            install_lists(venv, files)
            install_lists(venv, bare, '--no-deps')

    def fill_others() -> None:
        with step('environments for colcon, Jazzy and the releases of Ubuntu and Debian'):
            for name in environments.RELEASES:
                environments.release_environment(name)
            if environments.WHEELS_EXIST:
                environments.colcon_environment()
                environments.jazzy_environment()
        if platform.machine() != 'aarch64':
            with step('an emulated ARM machine'):
                prepare_arm()

    with ThreadPoolExecutor(1) as pool:
        others = pool.submit(fill_others)
        ensure(VENV, 'test', [*files, *bare, CONSTRAINTS], fill)
        others.result()


def prepare_arm() -> None:
    """Get the tools that count ARM instructions. Without them tests are skipped; in CI that is an error."""
    done = subprocess.run([VENV / 'bin/python', ROOT / 'benchmarks/arm/prepare.py'], text=True,
                          stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode and os.environ.get('CI'):
        raise SetupError(done.stderr.strip())
    print(done.stderr, end='', flush=True)


EXTRAS: dict[str, Callable[[], None]] = {'demo': set_up_demo, 'test': set_up_test}


def main(arguments: list[str]) -> int:
    """Set up. Returns 0 if .venv is ready, 1 with a message that says what to do, 2 for a wrong argument."""
    if set(arguments) - set(EXTRAS):
        print(f'usage: setup_env.py [{"|".join(EXTRAS)}]', file=sys.stderr)
        return 2
    try:
        check_python(sys.version_info[:2], distro=distribution(os.environ, ROOT))
        set_up_runtime()
        for name in arguments:
            EXTRAS[name]()
    except SetupError as error:
        print(f'setup: {error}', file=sys.stderr)
        return 1
    print(f'setup: {VENV.name} is ready (Python {platform.python_version()})', flush=True)
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
