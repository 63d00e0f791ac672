# SPDX-License-Identifier: Apache-2.0
"""Compile the native library: the same kernels once for each CPU level, in a few seconds.

    python native/build.py --out DIR [--cc aarch64-linux-gnu-gcc] [--werror]

Needs a C compiler (tested with GCC 11 and 12 and clang 14) and no library. setup.py, the tests and the
benchmarks use it too. --werror is for tests and CI: other compilers may have other warnings, and these must
not break a user's build.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
LIBRARY = 'libshufflenet_native.so'

WARNINGS = ('-Wall', '-Wextra', '-Wconversion')
# Contracting a product and a sum would round differently from the definition of int8.
COMMON = ('-std=gnu11', '-O3', '-fPIC', '-fvisibility=hidden', '-ffp-contract=off', '-fwrapv')
# GCC's first scheduling pass and its vectorizer spill the tiles' accumulators: up to 15 % more instructions
# on ARM.
TILES = ('-fno-schedule-insns', '-fno-tree-vectorize')
PLAIN = ('-std=gnu11', '-O2', '-fPIC', '-fvisibility=hidden')
SANITIZERS = ('-g1', '-O1', '-fsanitize=address,undefined', '-fno-sanitize-recover=all',
              '-fno-omit-frame-pointer')

A76 = ('-mtune=cortex-a76',)
AVX2 = ('-mavx2', '-mfma')
AVX512 = (*AVX2, '-mavx512f', '-mavx512bw', '-mavx512dq', '-mavx512vl')


@dataclass(frozen=True)
class Level:
    """One object file: the kernels for one CPU level.

    Attributes:
        source: path under native/src.
        name: of its kernels.
        sets: the symbols of its kernel sets.
        machine: the processor family; '' for any.
        features: the enum sn_feature bits it needs.
        defines: preprocessor definitions, without -D.
        flags: compiler flags. A compiler that rejects them leaves the level out.
    """

    source: str
    name: str
    sets: tuple[str, ...]
    machine: str = ''
    features: str = '0'
    defines: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()


def _fp(name: str, vectors: str, machine: str, features: str, flags: Sequence[str],
        half: bool = False) -> Level:
    sets = (f'sn_fp16_{name}',) if half else (f'sn_fp32_{name}', f'sn_fp16_as_fp32_{name}')
    defines = (f'SN_VECTORS="vec_{vectors}.h"', *(('SN_HALF',) if half else ()))
    return Level('fp/fp.c', name, sets, machine, features, defines, tuple(flags))


def _i8(name: str, vectors: str, machine: str, features: str, flags: Sequence[str]) -> Level:
    defines = (f'SN_VECTORS="vec_i8_{vectors}.h"',)
    return Level('i8/i8.c', name, (f'sn_i8_{name}',), machine, features, defines, tuple(flags))


LEVELS = (
    # Best first: the library takes the first one that its CPU can run.
    _fp('half', 'neon', 'aarch64', 'SN_NEON | SN_NEON_FP16', ('-march=armv8.2-a+fp16', *A76), half=True),
    _fp('neon', 'neon', 'aarch64', 'SN_NEON', ('-march=armv8-a', *A76)),
    _fp('avx512', 'avx2', 'x86_64', 'SN_AVX2 | SN_AVX512', AVX512),
    _fp('avx2', 'avx2', 'x86_64', 'SN_AVX2', AVX2),
    _fp('c', 'c', '', '0', ()),
    _i8('dot', 'neon', 'aarch64', 'SN_NEON | SN_NEON_DOT', ('-march=armv8.2-a+dotprod', *A76)),
    _i8('neon', 'neon', 'aarch64', 'SN_NEON', ('-march=armv8-a', *A76)),
    _i8('vnni', 'x86', 'x86_64', 'SN_AVX2 | SN_AVX512 | SN_AVX512_VNNI', (*AVX512, '-mavx512vnni')),
    _i8('avxvnni', 'x86', 'x86_64', 'SN_AVX2 | SN_AVX_VNNI', (*AVX2, '-mavxvnni')),
    _i8('avx2', 'x86', 'x86_64', 'SN_AVX2', AVX2),
    _i8('c', 'c', '', '0', ()),
)
OTHERS = ('abi.c', 'blob.c', 'dispatch.c', 'kernels_list.c', 'plan.c')


class BuildError(RuntimeError):
    """The library cannot be built; the message says why."""


def find_compiler() -> list[str]:
    """The command of the C compiler: $CC, or the first of cc, gcc, clang on PATH.

    Raises:
        BuildError: none was found.
    """
    if os.environ.get('CC'):
        return shlex.split(os.environ['CC'])
    for name in ('cc', 'gcc', 'clang'):
        if shutil.which(name):
            return [name]
    raise BuildError('no C compiler was found: install gcc (Debian, Ubuntu: sudo apt install gcc libc6-dev)')


def machine_of(compiler: Sequence[str]) -> str:
    """The processor family that a compiler targets: aarch64, x86_64, ...

    Raises:
        BuildError: the compiler does not run.
    """
    return _run([*compiler, '-dumpmachine']).split('-')[0].strip().replace('amd64', 'x86_64')


def version_of(compiler: Sequence[str]) -> str:
    """The first line of a compiler's --version."""
    return _run([*compiler, '--version']).splitlines()[0].strip()


def compile_objects(folder: Path, compiler: Sequence[str], *, werror: bool = False, sanitize: bool = False,
                    mark: bool = False, names: Collection[str] = ()) -> list[Path]:
    """Compile all object files of the library into a folder.

    Args:
        werror: treat warnings as errors; for tests and CI.
        sanitize: compile with AddressSanitizer and UndefinedBehaviorSanitizer.
        mark: end each operation with the system call that benchmarks/arm counts at.
        names: levels to compile; empty for all.

    Raises:
        BuildError: a source does not compile.
    """
    machine = machine_of(compiler)
    levels = [level for level in LEVELS
              if level.machine in ('', machine) and (not names or level.name in names)]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        accepted = list(pool.map(lambda level: _accepts(compiler, level.flags), levels))
        levels = [level for level, usable in zip(levels, accepted, strict=True) if usable]
        sets = [name for level in levels for name in level.sets]
        common = (*WARNINGS, *(('-Werror',) if werror else ()),
                  *(SANITIZERS if sanitize else ()), *(('-DSN_MARK',) if mark else ()),
                  f'-DSN_SETS={" ".join(f"SN_SET({name})" for name in sets)}',
                  '-I', str(HERE / 'include'))
        jobs = [(HERE / 'src' / level.source, f'{Path(level.source).stem}_{level.name}.o',
                 _flags(compiler, level)) for level in levels]
        jobs += [(HERE / 'src' / source, f'{Path(source).stem}.o', PLAIN) for source in OTHERS]
        return list(pool.map(
            lambda job: _compile(compiler, job[0], folder / job[1], (*job[2], *common)), jobs))


def build(out: Path, compiler: Sequence[str] = (), *, werror: bool = False) -> Path:
    """Build the shared library in a folder and return its path.

    Args:
        out: created if it does not exist.
        compiler: a command; empty for find_compiler().
        werror: treat warnings as errors.

    Raises:
        BuildError: no compiler was found, or a source does not compile.
    """
    compiler = compiler or find_compiler()
    with tempfile.TemporaryDirectory() as scratch:
        return link(compile_objects(Path(scratch), compiler, werror=werror), out, compiler)


def link(objects: Sequence[Path], out: Path, compiler: Sequence[str]) -> Path:
    """Link object files to the shared library in a folder and return its path.

    Raises:
        BuildError: a symbol is missing.
    """
    out.mkdir(parents=True, exist_ok=True)
    partial = out / f'{LIBRARY}.part'
    # -z defs: a missing symbol fails here, not on the robot.
    _run([*compiler, '-shared', '-Wl,-z,defs', '-o', str(partial), *map(str, objects), '-lm'])
    os.replace(partial, out / LIBRARY)
    return out / LIBRARY


def _flags(compiler: Sequence[str], level: Level) -> tuple[str, ...]:
    defines = (f'SN_LEVEL={level.name}', f'SN_FEATURES={level.features}', *level.defines)
    return (*COMMON, *level.flags, *(f'-D{define}' for define in defines),
            *(flag for flag in TILES if _accepts(compiler, (flag,))))


def _accepts(compiler: Sequence[str], flags: Sequence[str]) -> bool:
    probe = subprocess.run([*compiler, '-Werror', *flags, '-x', 'c', '-c', '-o', os.devnull, '-'],
                           input='int x;', capture_output=True, text=True, check=False)
    return probe.returncode == 0


def _compile(compiler: Sequence[str], source: Path, target: Path, flags: Sequence[str]) -> Path:
    _run([*compiler, *flags, '-c', str(source), '-o', str(target)])
    return target


def _run(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise BuildError(f'{command[0]} does not run: {error.strerror or error}') from error
    if done.returncode:
        raise BuildError(f'{shlex.join(command)[:300]} failed:\n{done.stderr.strip()[-2000:]}')
    if done.stderr:
        print(done.stderr, file=sys.stderr, end='')
    return done.stdout


def main(argv: Sequence[str] | None = None) -> int:
    """Build the library and print its path."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', type=Path, required=True, help='folder for the library')
    parser.add_argument('--cc', default='', help='the C compiler (default: $CC, cc, gcc or clang)')
    parser.add_argument('--werror', action='store_true', help='treat warnings as errors (tests and CI)')
    args = parser.parse_args(argv)
    try:
        print(build(args.out, shlex.split(args.cc), werror=args.werror))
    except BuildError as error:
        print(f'build.py: {error}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
