"""What counting ARM instructions takes: `python benchmarks/arm/prepare.py` gets what is missing.

Counting our own kernels needs qemu-user, a cross-compiler and the counting plugin. Counting onnxruntime needs
an arm64 Python with the aarch64 onnxruntime as well; Debian's packages and wheels are unpacked for it below
.cache/arm, nothing is installed and no root is needed. Only the standard library is used here.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / '.cache' / 'arm'
PLUGIN_SOURCE = Path(__file__).with_name('plugin.c')
CONSTRAINTS = ROOT / 'scripts/requirements/constraints.txt'
CROSS_COMPILER = 'aarch64-linux-gnu-gcc'
# program -> Debian's and Ubuntu's package
TOOLS = {'qemu-aarch64': 'qemu-user', CROSS_COMPILER: 'gcc-aarch64-linux-gnu', 'gcc': 'gcc'}
GUEST_PACKAGES = ('python3-minimal', 'libpython3-stdlib', 'libstdc++6', 'libgomp1')
WHEEL_PLATFORMS = ('manylinux_2_28_aarch64', 'manylinux_2_27_aarch64', 'manylinux2014_aarch64')


class PrepareError(Exception):
    """Something is missing and can't be had here; the message names it and what to do."""


def missing_tools() -> list[str]:
    """Packages of the programs that are not on PATH."""
    return [package for program, package in TOOLS.items() if not shutil.which(program)]


def ensure_tools() -> None:
    """Install missing programs where this is root and apt is there.

    Raises:
        PrepareError: they are missing, and can't be installed by this process.
    """
    packages = missing_tools()
    if not packages:
        return
    remedy = f'sudo apt install {" ".join(packages)}'
    if os.geteuid() != 0 or not shutil.which('apt-get'):
        raise PrepareError(f'counting ARM instructions needs {", ".join(packages)}: on Debian or Ubuntu '
                           f'`{remedy}`')
    say(f'installing {", ".join(packages)}')
    _run(['apt-get', '-q', 'update'])
    _run(['apt-get', '-q', '-y', 'install', '--no-install-recommends', *packages, 'libc6-dev-arm64-cross'],
         DEBIAN_FRONTEND='noninteractive')
    if left := missing_tools():
        raise PrepareError(f'{", ".join(left)} still missing after `{remedy}`')


def ensure_plugin() -> Path:
    """The counting plugin, compiled for the installed QEMU.

    Raises:
        PrepareError: no tools, or it does not compile.
    """
    ensure_tools()
    major = qemu_major()
    version = 2 if major >= 9 else 1  # what QEMU 9 refuses is the only one that older ones know
    plugin = CACHE / f'libcount-{version}.so'
    if not plugin.is_file() or plugin.stat().st_mtime < PLUGIN_SOURCE.stat().st_mtime:
        with replacing(plugin) as draft:
            _run(['gcc', '-std=c11', '-O2', '-Wall', '-Wextra', '-shared', '-fPIC',
                  f'-DPLUGIN_VERSION={version}', '-o', draft, PLUGIN_SOURCE])
    return plugin


def qemu_major() -> int:
    """Major version of the installed qemu-aarch64.

    Raises:
        PrepareError: it takes no plugins.
    """
    found = re.search(r'version (\d+)[.\d]*', _run(['qemu-aarch64', '--version']))
    if not found or '-plugin' not in _run(['qemu-aarch64', '--help']):
        raise PrepareError(f'qemu-aarch64 {found[0] if found else "of unknown version"} was built without '
                           "plugins, which count: expected one with them, such as Debian 12's qemu-user")
    return int(found[1])


def ensure_guest() -> Path:
    """A folder with root/ (an arm64 Python and what it links to) and site/ (onnxruntime for it).

    Raises:
        PrepareError: apt or pip have not what is needed.
    """
    ensure_tools()
    wanted = next(line for line in CONSTRAINTS.read_text().splitlines() if line.startswith('onnxruntime=='))
    guest = CACHE / f'guest-{wanted.split(";")[0].split("==")[1].strip()}'
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / 'lock').open('w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not guest.is_dir():
            say('fetching an arm64 Python and its onnxruntime (half a minute)')
            with replacing(guest) as draft:
                _unpack_debian(draft / 'root')
                _unpack_wheels(draft / 'site', guest_python(draft))
    return guest


def guest_python(guest: Path) -> Path:
    """The arm64 interpreter, such as root/usr/bin/python3.11."""
    pythons = [path for path in (guest / 'root/usr/bin').glob('python3.*') if not path.is_symlink()]
    if len(pythons) != 1:
        raise PrepareError(f'{guest}: expected one arm64 python3, found {len(pythons)}: remove that folder')
    return pythons[0]


def _unpack_debian(root: Path) -> None:
    """Download the arm64 packages with everything that they depend on, and unpack them."""
    if not shutil.which('apt-get') or not shutil.which('dpkg-deb'):
        raise PrepareError('an arm64 Python is fetched with apt-get and unpacked with dpkg-deb, and these '
                           'are missing: count onnxruntime on Debian 12 or newer')
    with tempfile.TemporaryDirectory(prefix='apt-', dir=CACHE) as scratch:
        place = Path(scratch)
        for folder in ('lists/partial', 'archives/partial'):
            (place / folder).mkdir(parents=True)
        (place / 'status').touch()  # no package counts as installed, so that all come
        settings = ['APT::Architecture=arm64', 'APT::Architectures=arm64', f'Dir::State::Lists={place}/lists',
                    f'Dir::State::status={place}/status', f'Dir::Cache={place}', 'Debug::NoLocking=1',
                    'APT::Sandbox::User=', 'APT::Install-Recommends=0', 'Acquire::Languages=none']
        options = [word for setting in settings for word in ('-o', setting)]
        try:
            _run(['apt-get', *options, '-q', 'update'])
            _run(['apt-get', *options, '-q', '-y', '--download-only', 'install', *GUEST_PACKAGES])
        except PrepareError as error:
            raise PrepareError(f'{error}\nexpected package sources of this machine that have arm64 too, as '
                               "Debian's have (Ubuntu keeps arm64 on other servers)") from error
        root.mkdir(parents=True)
        for package in sorted((place / 'archives').glob('*.deb')):
            _run(['dpkg-deb', '-x', package, root])


def _unpack_wheels(site: Path, python: Path) -> None:
    version = python.name.removeprefix('python')
    platforms = [word for name in WHEEL_PLATFORMS for word in ('--platform', name)]
    _run([sys.executable, '-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--no-compile',
          '--target', site, *platforms, '--python-version', version, '--only-binary=:all:', '-c', CONSTRAINTS,
          'onnxruntime'])


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name beside `path` to make the file or folder under; it takes its place when all went well."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix='draft-', dir=CACHE) as scratch:
        draft = Path(scratch) / path.name
        yield draft
        os.replace(draft, path)


def _run(command: Sequence[object], **variables: str) -> str:
    words = [str(word) for word in command]
    done = subprocess.run(words, text=True, stdin=subprocess.DEVNULL, capture_output=True, check=False,
                          env={**os.environ, **variables})
    if done.returncode:
        tail = '\n'.join((done.stdout + done.stderr).splitlines()[-15:])
        raise PrepareError(f'this command failed with exit status {done.returncode}:\n  {" ".join(words)}\n'
                           f'{tail}')
    return done.stdout


def say(text: str) -> None:
    """Progress, for people."""
    print(f'arm: {text}', file=sys.stderr, flush=True)


def main() -> int:
    """Prepare everything; 1 with a message where something can't be had."""
    argparse.ArgumentParser(prog='python -m benchmarks.arm.prepare', description=__doc__).parse_args()
    try:
        ensure_plugin()
        ensure_guest()
    except PrepareError as error:
        print(f'arm: {error}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
