# SPDX-License-Identifier: Apache-2.0
"""Count an inference by our own kernels: native/tools/run_blob.c, linked statically with the library."""

from __future__ import annotations

import hashlib
import struct
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.arm.emulate import INFERENCES, emulate, inference_marks
from benchmarks.arm.prepare import CACHE, CROSS_COMPILER, ROOT, PrepareError, ensure_tools, replacing
from benchmarks.arm.subject import InstructionCount, Subject
from native.build import BuildError, compile_objects, version_of
from shufflenet_ros.backends.native import ANY_FEATURES

NATIVE = ROOT / 'native'
DRIVER = NATIVE / 'tools' / 'run_blob.c'
# As in native/src/blob.h.
KINDS = ('stem', 'pointwise', 'depthwise', 'copy', 'head')
HEADER_BYTES, MAP_BYTES, OP_BYTES = 128, 16, 128
_COUNTS = struct.Struct('<40xII')
_MAP = struct.Struct('<III')
_OP = struct.Struct('<IIIIIIIII')
_NO_MAP = 0xFFFFFFFF


def compiler_version() -> str:
    """Return name and version of the compiler, on which the counts depend.

    Raises:
        PrepareError: no compiler.
    """
    ensure_tools()
    return version_of([CROSS_COMPILER])


def count_native(subject: Subject, cpu: str, precision: str, layers: bool = False) -> InstructionCount:
    """Count one sn_run, from the frame's bytes to the logits.

    Args:
        layers: count each operation too; the marks between them add about twenty instructions each.

    Raises:
        PrepareError: a tool is missing, or the library does not compile.
        EmulationError: the driver failed.
        WrongResultError: the logits are wrong.
    """
    blob = subject.blob(precision)
    operations = describe(blob) if layers else []
    frames = subject.tensor.tobytes() * INFERENCES
    logits, kernels, marks = run_driver(driver(marked=layers), cpu, blob, frames, len(operations))
    instructions = [end - begin for begin, end in zip(marks, marks[1:])]
    return subject.count(precision, kernels, marks[-1] - marks[0], logits[-1],
                         tuple(zip(operations, instructions, strict=False)))


def run_driver(program: Path, cpu: str, blob: bytes, frames: bytes, inner_marks: int = 0,
               features: int = ANY_FEATURES) -> tuple[np.ndarray, str, list[int]]:
    """Run INFERENCES frames on an emulated CPU.

    Args:
        inner_marks: number of marks that the library sets in each inference.
        features: bits of enum sn_feature that kernels may use.

    Returns:
        Logits, (INFERENCES, classes) float32; the kernels' name; the counts at the last inference's marks.
    """
    with tempfile.TemporaryDirectory(prefix='arm-') as scratch:
        blob_file, frames_file, logits_file = (Path(scratch) / name for name in ('blob', 'frames', 'logits'))
        blob_file.write_bytes(blob)
        frames_file.write_bytes(frames)
        marks, output = emulate(cpu, [program, blob_file, frames_file, logits_file, features])
        classes = struct.unpack_from('<I', blob, 32)[0]
        logits = np.fromfile(logits_file, '<f4').reshape(INFERENCES, -1)
        return logits[:, :classes], output.split()[0], inference_marks(marks, inner_marks)


def driver(marked: bool = False) -> Path:
    """Return the driver for aarch64, from .cache/arm or newly compiled.

    Args:
        marked: the library sets a mark after each operation.

    Raises:
        PrepareError: no compiler, or it does not compile.
    """
    compiler = [CROSS_COMPILER]
    key = hashlib.sha256(f'{compiler_version()} {marked}'.encode())
    for source in sorted(path for path in NATIVE.rglob('*') if path.suffix in ('.c', '.h', '.py')):
        key.update(source.read_bytes())
    program = CACHE / f'run_blob-{key.hexdigest()[:16]}'
    if not program.is_file():
        with replacing(program) as draft:
            try:
                objects = compile_objects(draft.parent, compiler, mark=marked)
            except BuildError as error:
                raise PrepareError(str(error)) from error
            command = [*compiler, '-std=gnu11', '-O2', '-static', '-I', NATIVE / 'include', '-o', draft,
                       DRIVER, *objects, '-lm']
            done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
            if done.returncode:
                raise PrepareError(f'{DRIVER} does not compile:\n{done.stderr[-2000:]}')
    return program


def describe(blob: bytes) -> list[str]:
    """Return a line for each operation of a blob."""
    maps, operations = _COUNTS.unpack_from(blob)
    sizes = [_MAP.unpack_from(blob, HEADER_BYTES + MAP_BYTES * i) for i in range(maps)]
    height, width = struct.unpack_from('<II', blob, 24)
    lines = []
    for i in range(operations):
        kind, _, source, target, _, inputs, outputs, groups, stride = _OP.unpack_from(
            blob, HEADER_BYTES + MAP_BYTES * maps + OP_BYTES * i)
        before = f'{height}x{width}' if source == _NO_MAP else '{1}x{2}'.format(*sizes[source])
        after = '' if target == _NO_MAP else ' {1}x{2}'.format(*sizes[target])
        more = (f' groups {groups}' if groups > 1 else '') + (f' stride {stride}' if stride > 1 else '')
        lines.append(f'{KINDS[kind]:<10} {inputs:>4} {before} ->{outputs:>5}{after}{more}')
    return lines
