# SPDX-License-Identifier: Apache-2.0
"""The tools that count ARM instructions: `python benchmarks/arm/prepare.py` gets what is missing.

Counting the native kernels needs qemu-user, a cross-compiler and the counting plugin. Counting onnxruntime
also needs an arm64 Python with the aarch64 onnxruntime. These are Debian packages and wheels, unpacked into
.cache/arm without root. Setup runs this file by itself, so it uses only the standard library.
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
# program -> package of Debian and Ubuntu
TOOLS = {'qemu-aarch64': 'qemu-user', CROSS_COMPILER: 'gcc-aarch64-linux-gnu', 'gcc': 'gcc'}
GUEST_PACKAGES = ('python3-minimal', 'libpython3-stdlib', 'libstdc++6', 'libgomp1')
WHEEL_PLATFORMS = ('manylinux_2_28_aarch64', 'manylinux_2_27_aarch64', 'manylinux2014_aarch64')


class PrepareError(Exception):
    """A tool is missing and cannot be installed here. The message has its name and what to do."""


def missing_tools() -> list[str]:
    """Return the packages of the programs that are not on PATH."""
    return [package for program, package in TOOLS.items() if not shutil.which(program)]


def ensure_tools() -> None:
    """Install missing programs, if this is root and has apt.

    Raises:
        PrepareError: they are missing, and this process cannot install them.
    """
    packages = missing_tools()
    if not packages:
        return
    remedy = f'sudo apt install {" ".join(packages)}'
    if os.geteuid() != 0 or not shutil.which('apt-get'):
        raise PrepareError(f'counting ARM instructions needs {", ".join(packages)}: on Debian or Ubuntu '
                           f'`{remedy}`')
    log(f'installing {", ".join(packages)}')
    run(['apt-get', '-q', 'update'])
    run(['apt-get', '-q', '-y', 'install', '--no-install-recommends', *packages, 'libc6-dev-arm64-cross'],
        DEBIAN_FRONTEND='noninteractive')
    if left := missing_tools():
        raise PrepareError(f'{", ".join(left)} still missing after `{remedy}`')


def ensure_plugin() -> Path:
    """Return the counting plugin, compiled for the installed QEMU.

    Raises:
        PrepareError: no tools, or it does not compile.
    """
    ensure_tools()
    version = 2 if qemu_major() >= 9 else 1  # QEMU 9 rejects version 1, and older ones know no other
    plugin = CACHE / f'libcount-{version}.so'
    if not plugin.is_file() or plugin.stat().st_mtime < PLUGIN_SOURCE.stat().st_mtime:
        with replacing(plugin) as draft:
            run(['gcc', '-std=c11', '-O2', '-Wall', '-Wextra', '-Wconversion', '-Werror', '-shared', '-fPIC',
                 f'-DPLUGIN_VERSION={version}', '-o', draft, PLUGIN_SOURCE])
    return plugin


def qemu_major() -> int:
    """Return the major version of the installed qemu-aarch64.

    Raises:
        PrepareError: it does not support plugins.
    """
    found = re.search(r'version (\d+)[.\d]*', run(['qemu-aarch64', '--version']))
    if not found or '-plugin' not in run(['qemu-aarch64', '--help']):
        raise PrepareError(f'qemu-aarch64 {found[0] if found else "of unknown version"} was built without '
                           "plugins: expected one with plugins, such as Debian 12's qemu-user")
    return int(found[1])


def ensure_guest() -> Path:
    """Return a folder with root/ (an arm64 Python and its libraries) and site/ (its onnxruntime).

    Raises:
        PrepareError: apt or pip cannot download them.
    """
    ensure_tools()
    wanted = next(line for line in CONSTRAINTS.read_text().splitlines() if line.startswith('onnxruntime=='))
    guest = CACHE / f'guest-{wanted.split(";")[0].split("==")[1].strip()}'
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / 'lock').open('w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not guest.is_dir():
            log('fetching an arm64 Python and its onnxruntime (half a minute)')
            with replacing(guest) as draft:
                _unpack_debian(draft / 'root')
                _unpack_wheels(draft / 'site', guest_python(draft))
    return guest


def guest_python(guest: Path) -> Path:
    """Return the arm64 interpreter, such as root/usr/bin/python3.11."""
    pythons = [path for path in (guest / 'root/usr/bin').glob('python3.*') if not path.is_symlink()]
    if len(pythons) != 1:
        raise PrepareError(f'{guest}: expected one arm64 python3, found {len(pythons)}: remove that folder')
    return pythons[0]


def _unpack_debian(root: Path) -> None:
    """Download the arm64 packages with all dependencies, and unpack them."""
    if not shutil.which('apt-get') or not shutil.which('dpkg-deb'):
        raise PrepareError('no apt-get or no dpkg-deb, which fetch and unpack an arm64 Python: count '
                           'onnxruntime on Debian 12 or newer')
    with tempfile.TemporaryDirectory(prefix='apt-', dir=CACHE) as scratch:
        apt = Path(scratch)
        for folder in ('lists/partial', 'archives/partial'):
            (apt / folder).mkdir(parents=True)
        (apt / 'status').touch()  # no package counts as installed, so that all are downloaded
        settings = ['APT::Architecture=arm64', 'APT::Architectures=arm64', f'Dir::State::Lists={apt}/lists',
                    f'Dir::State::status={apt}/status', f'Dir::Cache={apt}', 'Debug::NoLocking=1',
                    'APT::Sandbox::User=', 'APT::Install-Recommends=0', 'Acquire::Languages=none']
        options = [word for setting in settings for word in ('-o', setting)]
        try:
            run(['apt-get', *options, '-q', 'update'])
            run(['apt-get', *options, '-q', '-y', '--download-only', 'install', *GUEST_PACKAGES])
        except PrepareError as error:
            raise PrepareError(f'{error}\nexpected package sources with arm64, such as those of Debian '
                               '(Ubuntu keeps arm64 on other servers)') from error
        root.mkdir(parents=True)
        for package in sorted((apt / 'archives').glob('*.deb')):
            run(['dpkg-deb', '-x', package, root])


def _unpack_wheels(site: Path, python: Path) -> None:
    version = python.name.removeprefix('python')
    platforms = [word for name in WHEEL_PLATFORMS for word in ('--platform', name)]
    run([sys.executable, '-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--no-compile',
         '--target', site, *platforms, '--python-version', version, '--only-binary=:all:', '-c', CONSTRAINTS,
         'onnxruntime'])


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a path to write a file or folder to, which becomes `path` if the block ends without an error."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix='draft-', dir=CACHE) as scratch:
        draft = Path(scratch) / path.name
        yield draft
        os.replace(draft, path)


def run(command: Sequence[object], **variables: str) -> str:
    """Run a program and return its standard output.

    Raises:
        PrepareError: it failed; has its last lines.
    """
    words = [str(word) for word in command]
    done = subprocess.run(words, text=True, stdin=subprocess.DEVNULL, capture_output=True, check=False,
                          env={**os.environ, **variables})
    if done.returncode:
        tail = '\n'.join((done.stdout + done.stderr).splitlines()[-15:])
        raise PrepareError(f'this command failed with exit status {done.returncode}:\n  {" ".join(words)}\n'
                           f'{tail}')
    return done.stdout


def log(text: str) -> None:
    """Print progress to stderr."""
    print(f'arm: {text}', file=sys.stderr, flush=True)


def main() -> int:
    """Prepare everything; return 1, with a message, if that fails."""
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
