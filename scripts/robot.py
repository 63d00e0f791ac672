# SPDX-License-Identifier: Apache-2.0
"""A robot in a Debian chroot: `make test-robot` installs, builds and starts the node there as README says.

NumPy, OpenCV, the compiler and colcon are Debian 12's, from apt. Only what Debian lacks has a stand-in: ROS
comes from pip's wheels, and `ros2 launch` is test/helpers/launch_stand_in.py. The steps are those of
scripts/robot_steps.sh, as in docker/Dockerfile. mmdebstrap makes the chroot, and bubblewrap enters it without
network and without any rights. It is kept in .cache/robot for a week.
"""

from __future__ import annotations

import datetime
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from shell import CACHE, CONSTRAINTS, ROOT, SetupError, digest, lists, run

SUITE, PYTHON = 'bookworm', '3.11'
TOOLS = {'mmdebstrap': 'mmdebstrap', 'bwrap': 'bubblewrap'}  # program -> apt package
ROS_LISTS = lists('ros-kilted', 'ros-kilted-build')
# What apt's ROS packages and its colcon bring along on a robot.
COLCON = ('bash', 'cmake', 'defaults', 'library-path', 'metadata', 'output', 'package-selection',
          'parallel-executor', 'ros')
WITH_ROS = ('cmake', 'make', 'python3-dev', 'python3-empy', 'python3-lark', 'python3-typing-extensions',
            'colcon', *(f'python3-colcon-{part}' for part in COLCON))
PREFIX = '/opt/ros/kilted'  # where apt would install ROS
SITE = f'{PREFIX}/lib/python{PYTHON}/site-packages'
SETUP_BASH = f"""\
export ROS_DISTRO=kilted ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST
export AMENT_PREFIX_PATH={PREFIX} CMAKE_PREFIX_PATH={PREFIX}
export LD_LIBRARY_PATH={PREFIX}/lib$(printf :%s {SITE}/ros_*.libs)
export PYTHONPATH={SITE}:{PREFIX}/local/lib/python{PYTHON}/dist-packages
"""
# ROS's wheels and vision_msgs in that prefix, for the system's Python and its NumPy.
INSTALL_ROS = f"""\
python3 -m venv --without-pip --system-site-packages {PREFIX}
python3 -m pip --python {PREFIX}/bin/python install --quiet --no-compile --no-deps $PINS
PYTHONPATH=src/shufflenet_ros/scripts python3 -c '
from pathlib import Path; from message_wheel import point_exports_here; point_exports_here(Path("{PREFIX}"))'
source {PREFIX}/setup.bash
cmake -S src/shufflenet_ros/interfaces/pip/vision_msgs -B /tmp/build -DCMAKE_INSTALL_PREFIX={PREFIX} \\
    -DBUILD_TESTING=OFF
cmake --build /tmp/build --parallel 2
cmake --install /tmp/build
"""
# apt's versions must be the ones that are imported, whatever pip has installed.
CHECK_APT = """\
python3 - <<END
import cv2, numpy
for module, version in ((numpy, '1.24.2'), (cv2, '4.6.0')):
    found = module.__file__, module.__version__
    assert found[0].startswith('/usr/lib/python3/dist-packages/') and found[1] == version, found
END
"""
STEPS = 'src/shufflenet_ros/scripts/robot_steps.sh'
PROGRAMS = 'install/shufflenet_ros/lib/shufflenet_ros'
# How to start the node -> the command, up to the backend's name.
STARTS = {'entry point': f'{PROGRAMS}/classify_node --ros-args -p autostart:=true -p backend:=',
          'launch file (stand-in for ros2 launch)':
              'python3 src/shufflenet_ros/test/helpers/launch_stand_in.py backend:='}


@contextmanager
def step(what: str) -> Iterator[None]:
    """Print how long a step took."""
    start = time.monotonic()
    yield
    print(f'robot: {what} ({time.monotonic() - start:.0f} s)', flush=True)


class Robot:
    """A read-only chroot, and a home folder whose ~/ws holds a copy of this working tree."""

    def __init__(self, root: Path, home: Path) -> None:
        self.root, self.home = root, home
        ignored = shutil.ignore_patterns('.*', 'build', 'install', 'log', 'out', 'runs', '*.egg-info', '*.so',
                                         '__pycache__')
        shutil.copytree(ROOT, home / 'ws/src/shufflenet_ros', ignore=ignored)
        (home / '.cache').mkdir()

    def run(self, script: str, *options: object, mount: str = '--bind') -> str:
        """Run a bash script in ~/ws, with more options of bwrap, and return what it prints.

        Raises:
            SetupError: the script failed.
        """
        variables = {'HOME': '/home/robot', 'PATH': '/usr/bin:/bin', 'LANG': 'C.UTF-8',
                     'ROS_LOG_DIR': '/tmp/log', 'PIP_NO_INDEX': '1', 'PIP_FIND_LINKS': '/opt/wheels'}
        return run(['bwrap', '--unshare-all', '--die-with-parent', '--cap-drop', 'ALL', '--uid', 1000,
                    '--gid', 1000, '--ro-bind', self.root, '/', '--proc', '/proc', '--dev', '/dev',
                    '--tmpfs', '/tmp', mount, self.home, '/home/robot', '--chdir', '/home/robot/ws',
                    '--clearenv', *(word for item in variables.items() for word in ('--setenv', *item)),
                    *options, 'bash', '-euo', 'pipefail', '-c', f'exec 2>&1\n{script}'])

    def build(self, script: str, *options: object) -> str:
        """Run a script with ROS sourced."""
        return self.run(f'source {PREFIX}/setup.bash\n{script}', *options)

    def start(self, command: str) -> str:
        """Run a command with the container's entry point, as read-only as docker/compose.yaml makes it."""
        return self.run(f'ROS_DISTRO=kilted src/shufflenet_ros/docker/entrypoint.sh {command}',
                        '--tmpfs', '/home/robot/.cache', mount='--ro-bind')


def debian_sources() -> list[str]:
    """This machine's own apt sources of the suite. If it has none, mmdebstrap uses its default."""
    listed = run(['apt-get', 'indextargets', '--format', 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)',
                  'Identifier: Packages']).splitlines()
    suites = [[SUITE + part, 'main'] for part in ('', '-updates', '-security')]
    return sorted({line for line in listed if line.split()[2:] in suites})


def apt_packages() -> list[str]:
    """What README's apt and rosdep lines install from Debian, and what apt's ROS packages would bring."""
    steps, env = ROOT / 'scripts/robot_steps.sh', {**os.environ, 'ROS_DISTRO': 'kilted'}
    own = run([steps, 'build_packages']) + run([steps, 'runtime_packages', ROOT / 'package.xml'], env=env)
    return [name for name in own.split() if not name.startswith('ros-')] + list(WITH_ROS)


def make_chroot(root: Path, home: Path) -> None:
    """Install Debian and ROS into the folder `root`; `home` is used meanwhile."""
    pins = [line for file in ROS_LISTS for line in file.read_text().splitlines() if line.startswith('ros-')]
    packages = apt_packages()

    def download() -> None:
        with step(f'{len(pins)} wheels of ROS downloaded, and ONNX Runtime'):
            run([sys.executable, '-m', 'pip', 'download', '--quiet', '--no-deps', '--only-binary=:all:',
                 '--python-version', PYTHON, '--dest', root / 'opt/wheels', '-c', CONSTRAINTS, *pins,
                 'onnxruntime'])

    with ThreadPoolExecutor(1) as pool, step(f'{len(packages)} packages of Debian, with what they depend on'):
        downloaded = pool.submit(download)
        # Unpacked by this user, without devices, so that this user can delete it.
        unpack = '"${@:2}" | tar -x -C "$1" --no-same-owner --exclude="./dev/*"'
        try:
            run(['bash', '-o', 'pipefail', '-c', unpack, '-', root, 'mmdebstrap', '--variant=minbase',
                 f'--include={",".join(packages)}', '--dpkgopt=force-unsafe-io',
                 '--dpkgopt=path-exclude=/usr/share/doc/*',
                 '--customize-hook=chroot "$1" useradd --create-home --uid 1000 robot', SUITE, '-',
                 *debian_sources()])
        except SetupError as error:
            remedy = 'run mmdebstrap as root, or as a user with an entry in /etc/subuid'
            raise SetupError(f'{error}\n{remedy}') from None
        downloaded.result()
    setup_bash = Path(f'{root}{PREFIX}/setup.bash')
    setup_bash.parent.mkdir(parents=True)
    setup_bash.write_text(SETUP_BASH)
    with step("ROS from wheels in the place of apt's"):
        Robot(root, home).run(f'PINS="{" ".join(pins)}"\n{INSTALL_ROS}', '--bind', root / 'opt', '/opt')


def chroot() -> Path:
    """The folder of this week's chroot, from .cache or new."""
    week = str(datetime.date.today().isocalendar()[:2])
    inputs: tuple[Path | str, ...] = (week, SETUP_BASH, INSTALL_ROS, *apt_packages(), *ROS_LISTS,
              *sorted((ROOT / 'interfaces/pip').rglob('*.*')))
    root = CACHE / 'robot' / digest(inputs)[:10]
    if not root.exists():
        shutil.rmtree(root.parent, ignore_errors=True)
        root.parent.mkdir(parents=True)
        with tempfile.TemporaryDirectory(dir=root.parent) as name:
            new = Path(name, 'root')
            new.mkdir()
            make_chroot(new, Path(name, 'home'))
            new.rename(root)
    return root


def expect(text: str, output: str) -> None:
    """Raise SetupError if the text isn't in the output."""
    if text not in output:
        raise SetupError(f'expected {text!r} in this output:\n{output}')


def check_node(robot: Robot, backend: str) -> None:
    """Start the node in both ways, and expect results of this backend."""
    robot.start(CHECK_APT)
    for what, command in STARTS.items():
        with step(f'  the {what} gives results with {backend}'):
            robot.start(f'python3 src/shufflenet_ros/scripts/launch_smoke.py {command}{backend}')


def native(robot: Robot) -> None:
    """README without ONNX Runtime."""
    with step('  colcon build'):
        robot.build(f'{STEPS} build_workspace')
    check_node(robot, 'native')
    with step('  shufflenet-ros classify, models list, service, doctor'):
        for words, text in (('classify src/shufflenet_ros/demo/photos/orange.jpg', 'orange'),
                            ('models list', 'shufflenet_v2_x1_0-imagenet-224'),
                            ('service --print', f'{PROGRAMS}/classify_node'),
                            ('doctor || true', 'no node /shufflenet')):  # its status 1 says that
            expect(text, robot.start(f'{PROGRAMS}/shufflenet-ros {words}'))


def onnxruntime(robot: Robot) -> None:
    """README in full."""
    with step('  pip install onnxruntime'):
        robot.run(f'{STEPS} install_onnxruntime')
    check_node(robot, 'onnxruntime')


def no_compiler(robot: Robot) -> None:
    """Without a compiler the package alone is built. The messages stay, as a binary package installs them."""
    compilers = [path.name for path in (robot.root / 'usr/bin').iterdir()
                 if not path.is_symlink() and any(name in path.name for name in ('gcc', 'g++'))]
    hidden = [word for name in compilers for word in ('--ro-bind', '/dev/null', f'/usr/bin/{name}')]
    with step('  colcon build without a compiler'):
        expect('the native kernels are not built', robot.build(
            'if gcc --version || g++ --version; then exit 1; fi\n'
            'rm -r build install/shufflenet_ros\ncolcon build', *hidden))
    check_node(robot, 'onnxruntime')


# One after the other in the same workspace.
VARIANTS: tuple[Callable[[Robot], None], ...] = (native, onnxruntime, no_compiler)


def main() -> int:
    """Run all variants. Returns 0 if all passed, otherwise 1."""
    lacking = [package for program, package in TOOLS.items() if not shutil.which(program)]
    if lacking:
        words = ' '.join(lacking)
        print(f'robot: missing: {words}. On Debian or Ubuntu: sudo apt install {words}', file=sys.stderr)
        return 1
    passed = 0
    try:
        with step('the chroot is ready'):
            root = chroot()
        with tempfile.TemporaryDirectory(dir=root.parent) as name:
            robot = Robot(root, Path(name, 'home'))
            for variant in VARIANTS:
                with step(f'variant {variant.__name__}'):
                    variant(robot)
                passed += 1
    except SetupError as error:
        print(f'robot: {error}', file=sys.stderr)
    print(f'robot: {passed} of {len(VARIANTS)} passed')
    return 0 if passed == len(VARIANTS) else 1


if __name__ == '__main__':
    sys.exit(main())
