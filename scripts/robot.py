# SPDX-License-Identifier: Apache-2.0
"""A robot in a Debian chroot: `make test-robot` installs, builds and starts the node there as README says.

NumPy, OpenCV, the compiler and colcon are Debian 12's, from apt. Only what Debian lacks is a stand-in: ROS comes
from pip's wheels, and `ros2 launch` is test/helpers/launch_stand_in.py. The steps are scripts/robot_steps.sh,
as in docker/Dockerfile. mmdebstrap makes the chroot and bubblewrap enters it, without network and as a user
without rights. The chroot is kept in .cache/robot for a week.
"""

from __future__ import annotations

import datetime
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from shell import CACHE, CONSTRAINTS, ROOT, SetupError, digest, lists, run

SUITE, PYTHON = 'bookworm', '3.11'
TOOLS = {'mmdebstrap': 'mmdebstrap', 'bwrap': 'bubblewrap'}
STEPS = 'src/shufflenet_ros/scripts/robot_steps.sh'
# What apt's ROS packages and its colcon bring along on a robot.
WITH_ROS = ('cmake', 'make', 'python3-dev', 'python3-empy', 'python3-lark', 'python3-typing-extensions', 'colcon',
            *(f'python3-colcon-{part}' for part in ('bash', 'cmake', 'defaults', 'library-path', 'metadata',
                                                    'output', 'package-selection', 'parallel-executor', 'ros')))
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
python3 -m pip --python {PREFIX}/bin/python install --quiet --no-compile --no-deps --no-index \\
    --find-links /tmp/wheels $PINS
PYTHONPATH=src/shufflenet_ros/scripts python3 -c '
from pathlib import Path; from message_wheel import point_exports_here; point_exports_here(Path("{PREFIX}"))'
cp /tmp/setup.bash {PREFIX} && source {PREFIX}/setup.bash
cmake -S src/shufflenet_ros/interfaces/pip/vision_msgs -B /tmp/vision_msgs -DBUILD_TESTING=OFF \\
    -DCMAKE_INSTALL_PREFIX={PREFIX}
cmake --build /tmp/vision_msgs --parallel 2
cmake --install /tmp/vision_msgs
"""
# apt's versions must be the ones that are imported, whatever pip has installed.
CHECK_APT = """
import cv2, numpy
for module, version in ((numpy, '1.24.2'), (cv2, '4.6.0')):
    found = module.__file__, module.__version__
    assert found[0].startswith('/usr/lib/python3/dist-packages/') and found[1] == version, found
"""
SMOKE = 'python3 src/shufflenet_ros/scripts/launch_smoke.py'
ENTRY_POINT = 'install/shufflenet_ros/lib/shufflenet_ros/classify_node --ros-args -p autostart:=true'
LAUNCH = 'python3 src/shufflenet_ros/test/helpers/launch_stand_in.py'
COMMAND_LINE = 'install/shufflenet_ros/lib/shufflenet_ros/shufflenet-ros'


@contextmanager
def step(what: str) -> Iterator[None]:
    """Print how long a step took."""
    start = time.monotonic()
    yield
    print(f'robot: {what} ({time.monotonic() - start:.0f} s)', flush=True)


class Robot:
    """A home folder with a workspace at ~/ws, in a chroot that is read-only."""

    def __init__(self, root: Path, home: Path) -> None:
        self.root, self.home = root, home

    def run(self, script: str, *options: object, read_only: bool = False) -> str:
        """Run a bash script in ~/ws and return its output; with `read_only` as in docker/compose.yaml.

        Raises:
            SetupError: the script failed.
        """
        mount = ['--ro-bind', self.home, '/home/robot', '--tmpfs', '/home/robot/.cache'] if read_only else [
            '--bind', self.home, '/home/robot']
        return run(['bwrap', '--unshare-all', '--die-with-parent', '--cap-drop', 'ALL', '--uid', 1000,
                    '--gid', 1000, '--ro-bind', self.root, '/', '--proc', '/proc', '--dev', '/dev',
                    '--tmpfs', '/tmp', *mount, '--clearenv', '--setenv', 'HOME', '/home/robot',
                    '--setenv', 'PATH', '/usr/bin:/bin', '--setenv', 'LANG', 'C.UTF-8',
                    '--setenv', 'ROS_LOG_DIR', '/tmp/log', '--chdir', '/home/robot/ws', *options,
                    'bash', '-euo', 'pipefail', '-c', script])

    def build(self, script: str, *options: object) -> str:
        """Run a script with ROS sourced."""
        return self.run(f'source {PREFIX}/setup.bash\n{script}', *options)

    def node(self, command: str) -> str:
        """Run a command as the container does, with the workspace sourced."""
        return self.run(f'exec 2>&1; ROS_DISTRO=kilted src/shufflenet_ros/docker/entrypoint.sh {command}',
                        read_only=True)


def new_home(parent: Path, name: str) -> Path:
    """A home folder with a workspace that holds a clone of this working tree."""
    ignored = shutil.ignore_patterns('.*', 'build', 'install', 'log', 'out', 'runs', '*.egg-info', '*.so',
                                     '__pycache__')
    shutil.copytree(ROOT, parent / name / 'ws/src/shufflenet_ros', ignore=ignored)
    (parent / name / '.cache').mkdir()
    return parent / name


def debian_sources() -> list[str]:
    """This machine's own apt sources of the suite; none means mmdebstrap's default."""
    listed = run(['apt-get', 'indextargets', '--format', 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)',
                  'Identifier: Packages']).splitlines()
    return sorted({line for line in listed if line.split()[2:] in [
        [suite, 'main'] for suite in (SUITE, f'{SUITE}-updates', f'{SUITE}-security')]})


def apt_packages() -> list[str]:
    """What README's apt and rosdep lines install from Debian, and what apt's ROS packages would bring."""
    steps = ROOT / 'scripts/robot_steps.sh'
    variables = {**os.environ, 'ROS_DISTRO': 'kilted'}
    own = [*run([steps, 'build_packages']).split(),
           *run([steps, 'runtime_packages', ROOT / 'package.xml'], env=variables).split()]
    return [name for name in own if not name.startswith('ros-')] + list(WITH_ROS)


def make_chroot(folder: Path) -> None:
    """Fill `folder`/root and `folder`/wheels."""
    root, wheels = folder / 'root', folder / 'wheels'
    root.mkdir()
    pins = [line for file in lists('ros-kilted', 'ros-kilted-build') for line in file.read_text().splitlines()
            if line.startswith('ros-')]

    def download() -> None:
        with step('wheels of ROS and ONNX Runtime downloaded'):
            run([sys.executable, '-m', 'pip', 'download', '--quiet', '--no-deps', '--only-binary=:all:',
                 '--python-version', PYTHON, '--dest', wheels, '-c', CONSTRAINTS, *pins, 'onnxruntime'])

    packages = apt_packages()
    with ThreadPoolExecutor(1) as pool:
        downloaded = pool.submit(download)
        with step(f'{len(packages)} packages and what they need from Debian {SUITE}'):
            run(['bash', '-o', 'pipefail', '-c', 'tar="$1"; shift; "$@" | tar -x -C "$tar" --exclude="./dev/*" '
                 '--no-same-owner', '-', root, 'mmdebstrap', '--variant=minbase',
                 f'--include={",".join(packages)}', '--dpkgopt=path-exclude=/usr/share/doc/*',
                 '--customize-hook=chroot "$1" useradd --create-home --uid 1000 robot', SUITE, '-',
                 *debian_sources()])
        downloaded.result()
    (folder / 'setup.bash').write_text(SETUP_BASH)
    with step('ROS in the place of apt\'s, from wheels'):
        Robot(root, new_home(folder, 'home')).run(
            INSTALL_ROS, '--bind', root / 'opt', '/opt', '--ro-bind', wheels, '/tmp/wheels',
            '--ro-bind', folder / 'setup.bash', '/tmp/setup.bash', '--setenv', 'PINS', ' '.join(pins))


def chroot() -> Path:
    """The folder with the chroot and the wheels, made this week or new."""
    year, week, _ = datetime.date.today().isocalendar()
    inputs = (Path(__file__), *lists('ros-kilted', 'ros-kilted-build'),
              *sorted((ROOT / 'interfaces/pip').rglob('*.*')))
    folder = CACHE / 'robot' / digest([f'{year}-{week}', *apt_packages(), *inputs])[:10]
    if not folder.exists():
        shutil.rmtree(folder.parent, ignore_errors=True)
        folder.parent.mkdir(parents=True)
        new = Path(tempfile.mkdtemp(dir=folder.parent))
        make_chroot(new)
        new.rename(folder)
    return folder


def check_node(robot: Robot, backend: str) -> None:
    """Start the node in both ways and expect results of this backend."""
    for what, command in (('the installed entry point', f'{ENTRY_POINT} -p backend:={backend}'),
                          ('the launch file (stand-in for ros2 launch)', f'{LAUNCH} backend:={backend}')):
        with step(f'{what} gives results with {backend}'):
            robot.node(f'{SMOKE} {command}')


def native(robot: Robot, folder: Path) -> None:
    """README without ONNX Runtime."""
    with step('colcon build'):
        robot.build(f'{STEPS} build_workspace')
    robot.node(f'python3 - <<END\n{CHECK_APT}END')
    check_node(robot, 'native')
    with step('shufflenet-ros classify and models list'):
        expect('orange', robot.node(f'{COMMAND_LINE} classify src/shufflenet_ros/demo/photos/orange.jpg'))
        expect('shufflenet_v2_x1_0-imagenet-224', robot.node(f'{COMMAND_LINE} models list'))


def onnxruntime(robot: Robot, folder: Path) -> None:
    """README in full."""
    with step('pip install onnxruntime'):
        robot.run(f'{STEPS} install_onnxruntime', '--ro-bind', folder / 'wheels', '/tmp/wheels',
                  '--setenv', 'PIP_NO_INDEX', 1, '--setenv', 'PIP_FIND_LINKS', '/tmp/wheels')
    robot.node(f'python3 - <<END\n{CHECK_APT}END')
    check_node(robot, 'onnxruntime')


def no_compiler(robot: Robot, folder: Path) -> None:
    """The package alone is built, without a compiler. The messages stay, as a package would install them."""
    compilers = [path.name for path in (robot.root / 'usr/bin').iterdir()
                 if not path.is_symlink() and any(name in path.name for name in ('gcc', 'g++'))]
    hidden = [word for name in compilers for word in ('--ro-bind', '/dev/null', f'/usr/bin/{name}')]
    with step('colcon build without a compiler'):
        output = robot.build('if gcc --version || g++ --version; then exit 1; fi\n'
                             'rm -r build install/shufflenet_ros\ncolcon build 2>&1', *hidden)
    expect('the native kernels are not built', output)
    check_node(robot, 'onnxruntime')


def expect(text: str, output: str) -> None:
    """Raise SetupError if the text isn't in the output."""
    if text not in output:
        raise SetupError(f'expected {text!r} in this output:\n{output}')


VARIANTS: tuple[Callable[[Robot, Path], None], ...] = (native, onnxruntime, no_compiler)


def main() -> int:
    """Run all variants, each after the one before it. Returns 0 if all passed, otherwise 1."""
    lacking = [package for tool, package in TOOLS.items() if not shutil.which(tool)]
    if lacking:
        print(f'robot: missing: {", ".join(lacking)}. On Debian or Ubuntu: sudo apt install {" ".join(lacking)}',
              file=sys.stderr)
        return 1
    passed = 0
    try:
        with step('the chroot is ready'):
            folder = chroot()
        with tempfile.TemporaryDirectory(dir=folder.parent) as name:
            robot = Robot(folder / 'root', new_home(Path(name), 'home'))
            for variant in VARIANTS:
                with step(f'variant {variant.__name__}'):
                    variant(robot, folder)
                passed += 1
    except SetupError as error:
        print(f'robot: {error}', file=sys.stderr)
    print(f'robot: {passed} of {len(VARIANTS)} passed')
    return 0 if passed == len(VARIANTS) else 1


if __name__ == '__main__':
    sys.exit(main())
