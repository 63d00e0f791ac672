"""Run an arm64 program on an emulated CPU and read at which instruction it set its marks."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.arm.prepare import ensure_plugin

TIMEOUT = 900  # seconds; AlexNet, the longest, takes half a minute
GETPPID, CLOCK_GETTIME = 173, 113
INFERENCES = 3


class EmulationError(Exception):
    """The emulated program failed, or did not set the marks that it should."""


@dataclass(frozen=True)
class Cpu:
    """A core as qemu and the programs on it know it.

    Attributes:
        part: of the implementer Arm, as in /proc/cpuinfo.
        features: likewise.
        precisions: of our kernels that are made for it. Others run on it too, with kernels for any CPU.
    """

    part: str
    features: str
    precisions: tuple[str, ...]


CPUS: Mapping[str, Cpu] = {
    'cortex-a76': Cpu('0xd0b', 'fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid '
                      'asimdrdm lrcpc dcpop asimddp', ('fp32', 'fp16', 'int8')),
    'cortex-a72': Cpu('0xd08', 'fp asimd evtstrm crc32 cpuid', ('fp32', 'int8')),
}


@dataclass(frozen=True)
class Mark:
    """A marking system call.

    Attributes:
        call: its number, GETPPID or CLOCK_GETTIME.
        count: instructions that the program had retired by then.
    """

    call: int
    count: int


def emulate(cpu: str, command: Sequence[object], root: Path | None = None) -> tuple[list[Mark], str]:
    """Run `command` on a CPU of CPUS; its marks in order, and what it printed.

    Args:
        root: where the program finds its libraries and files of the system; None: it is linked statically.

    Raises:
        PrepareError: a tool is missing and can't be installed.
        EmulationError: the program failed.
    """
    plugin = ensure_plugin()
    with tempfile.TemporaryDirectory(prefix='arm-') as scratch:
        out = Path(scratch) / 'marks'
        prefix = ['-L', str(_root_of(cpu, root, Path(scratch)))] if root else []
        words = ['qemu-aarch64', '-cpu', cpu, *prefix, '-plugin', f'{plugin},out={out}', *map(str, command)]
        # Nothing of this machine's environment may change what the guest does.
        variables = {'PATH': os.environ['PATH'], 'LC_ALL': 'C.UTF-8', 'PYTHONHASHSEED': '0',
                     'ORT_DISABLE_TELEMETRY': '1'}
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=variables,
                              timeout=TIMEOUT, check=False)
        if done.returncode:
            raise EmulationError(f'on an emulated {cpu} this failed with exit status {done.returncode}:\n  '
                                 f'{" ".join(map(str, command))}\n{done.stderr.strip()[-2000:]}')
        return [Mark(*map(int, line.split())) for line in out.read_text().splitlines()], done.stdout


def _root_of(cpu: str, root: Path, scratch: Path) -> Path:
    """The root as it looks on that CPU: onnxruntime reads which one it is from /proc and /sys.

    The x86 machine's own files make onnxruntime 1.32 crash when it is imported.
    """
    place = scratch / 'root'
    place.mkdir()
    for entry in root.iterdir():
        if entry.name not in ('proc', 'sys'):
            (place / entry.name).symlink_to(entry)
    (place / 'proc').mkdir()
    (place / 'proc/cpuinfo').write_text(''.join(
        f'processor\t: {number}\nBogoMIPS\t: 108.00\nFeatures\t: {CPUS[cpu].features}\n'
        f'CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: {CPUS[cpu].part}\n'
        'CPU revision\t: 1\n\n' for number in range(2)))
    cores = place / 'sys/devices/system/cpu'
    cores.mkdir(parents=True)
    for name in ('possible', 'present'):
        (cores / name).write_text('0-1\n')
    return place


def inference_marks(marks: Sequence[Mark], inner: int = 0) -> list[int]:
    """Counts at the last inference's begin and end, with `inner` marks of operations between them.

    Raises:
        EmulationError: not INFERENCES inferences with so many marks.
    """
    counts = [mark.count for mark in marks if mark.call == GETPPID]
    if len(counts) != INFERENCES * (inner + 2):
        raise EmulationError(f'expected {INFERENCES} inferences with {inner + 2} marks each, and counted '
                             f'{len(counts)} marks in all')
    return counts[-(inner + 2):]
