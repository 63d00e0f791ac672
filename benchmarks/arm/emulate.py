# SPDX-License-Identifier: Apache-2.0
"""Run an arm64 program on an emulated CPU, and read how many instructions it had retired at its marks."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.arm.prepare import ensure_plugin
from shufflenet_ros.core.errors import ShuffleNetError

TIMEOUT_S = 900  # AlexNet, the longest, takes half a minute
GETPPID = 173  # the system call that marks an inference's begin and end
INFERENCES = 3


class EmulationError(ShuffleNetError):
    """The emulated program failed, or did not set the expected marks."""


@dataclass(frozen=True)
class Cpu:
    """An emulated core.

    Attributes:
        part: CPU part in /proc/cpuinfo; the implementer is Arm.
        features: as in /proc/cpuinfo.
        precisions: those with kernels made for this core. Generic kernels run the others.
    """

    part: str
    features: str
    precisions: tuple[str, ...]


CPUS: Mapping[str, Cpu] = {
    'cortex-a76': Cpu('0xd0b', 'fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid '
                      'asimdrdm lrcpc dcpop asimddp', ('fp32', 'fp16', 'int8')),
    'cortex-a72': Cpu('0xd08', 'fp asimd evtstrm crc32 cpuid', ('fp32', 'int8')),
}


def emulate(cpu: str, command: Sequence[object], root: Path | None = None) -> tuple[list[int], str]:
    """Run `command` on a CPU of CPUS; return the instruction count at each mark, and what it printed.

    Args:
        root: the program's root folder, with its libraries and system files; None for a static program.

    Raises:
        PrepareError: a tool is missing and cannot be installed.
        EmulationError: the program failed.
    """
    plugin = ensure_plugin()
    with tempfile.TemporaryDirectory(prefix='arm-') as scratch:
        out = Path(scratch) / 'marks'
        prefix = ['-L', str(_root_of(cpu, root, Path(scratch)))] if root else []
        words = ['qemu-aarch64', '-cpu', cpu, *prefix, '-plugin', f'{plugin},out={out}', *map(str, command)]
        # This machine's environment must not affect the program.
        variables = {'PATH': os.environ['PATH'], 'LC_ALL': 'C.UTF-8', 'PYTHONHASHSEED': '0',
                     'ORT_DISABLE_TELEMETRY': '1'}
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=variables,
                              timeout=TIMEOUT_S, check=False)
        if done.returncode:
            raise EmulationError(f'on an emulated {cpu} this failed with exit status {done.returncode}:\n  '
                                 f'{" ".join(map(str, command))}\n{done.stderr.strip()[-2000:]}')
        marks = (line.split() for line in out.read_text().splitlines())  # system call, instructions
        return [int(count) for call, count in marks if int(call) == GETPPID], done.stdout


def _root_of(cpu: str, root: Path, scratch: Path) -> Path:
    """Return a copy of the root, made of links, that describes this CPU in /proc and /sys.

    onnxruntime 1.32 reads them, and crashes on import with those of an x86 machine.
    """
    copy = scratch / 'root'
    copy.mkdir()
    for entry in root.iterdir():
        if entry.name not in ('proc', 'sys'):
            (copy / entry.name).symlink_to(entry)
    (copy / 'proc').mkdir()
    (copy / 'proc/cpuinfo').write_text(''.join(
        f'processor\t: {number}\nBogoMIPS\t: 108.00\nFeatures\t: {CPUS[cpu].features}\n'
        f'CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: {CPUS[cpu].part}\n'
        'CPU revision\t: 1\n\n' for number in range(2)))
    cores = copy / 'sys/devices/system/cpu'
    cores.mkdir(parents=True)
    for name in ('possible', 'present'):
        (cores / name).write_text('0-1\n')
    return copy


def inference_marks(marks: Sequence[int], inner: int = 0) -> list[int]:
    """Return the counts at the last inference's begin and end, and at the `inner` marks between them.

    Raises:
        EmulationError: not the marks of INFERENCES inferences.
    """
    if len(marks) != INFERENCES * (inner + 2):
        raise EmulationError(f'expected {INFERENCES} inferences with {inner + 2} marks each, got '
                             f'{len(marks)} marks in total')
    return list(marks[-(inner + 2):])
