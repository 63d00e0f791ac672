# SPDX-License-Identifier: Apache-2.0
"""Count an inference of the native kernels: native/tools/run_blob.c, linked statically with the library."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.arm.emulate import INFERENCES, emulate, inference_marks
from benchmarks.arm.prepare import CACHE, CROSS_COMPILER, ROOT, PrepareError, ensure_tools, replacing, run
from benchmarks.arm.subject import InstructionCount, Subject
from native.build import BuildError, compile_objects, version_of
from shufflenet_ros.backends.native import ANY_FEATURES
from shufflenet_ros.packer.blob import HEADER, KINDS, MAP, NO_MAP, OP

NATIVE = ROOT / 'native'
DRIVER = NATIVE / 'tools' / 'run_blob.c'


def compiler_version() -> str:
    """Return name and version of the compiler, on which the counts depend.

    Raises:
        PrepareError: no compiler.
    """
    ensure_tools()
    return version_of([CROSS_COMPILER])


def count_native(subject: Subject, cpu: str, precision: str, layers: bool = False) -> InstructionCount:
    """Count one sn_run, from a frame's bytes to logits.

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
        classes = HEADER.unpack_from(blob)[7]
        logits = np.fromfile(logits_file, '<f4').reshape(INFERENCES, -1)
        return logits[:, :classes], output.split()[0], inference_marks(marks, inner_marks)


def library_objects(marked: bool = False) -> Path:
    """Return all object files of the library for aarch64 as one, from .cache/arm or newly compiled.

    Args:
        marked: the library sets a mark after each operation.

    Raises:
        PrepareError: no compiler, or a source does not compile.
    """
    key = hashlib.sha256(f'{compiler_version()} {marked}'.encode())
    for source in sorted(path for path in NATIVE.rglob('*') if path.suffix in ('.c', '.h', '.py')):
        key.update(source.read_bytes())
    joined = CACHE / f'native-{key.hexdigest()[:16]}.o'
    if not joined.is_file():
        with replacing(joined) as draft:
            try:
                objects = compile_objects(draft.parent, [CROSS_COMPILER], mark=marked)
            except BuildError as error:
                raise PrepareError(str(error)) from error
            run([CROSS_COMPILER, '-r', '-o', draft, *objects])
    return joined


def driver(marked: bool = False) -> Path:
    """Return the driver, linked statically with `library_objects(marked)`.

    Raises:
        PrepareError: no compiler, or a source does not compile.
    """
    objects = library_objects(marked)
    program = objects.with_suffix('')
    if not program.is_file():
        with replacing(program) as draft:
            run([CROSS_COMPILER, '-std=gnu11', '-O2', '-static', '-I', NATIVE / 'include', '-o', draft,
                 DRIVER, objects, '-lm'])
    return program


def describe(blob: bytes) -> list[str]:
    """Return a line for each operation of a blob."""
    height, width, _, _, maps, operations = HEADER.unpack_from(blob)[5:11]
    sizes = [MAP.unpack_from(blob, HEADER.size + MAP.size * i) for i in range(maps)]
    lines = []
    for i in range(operations):
        kind, _, source, target, _, inputs, outputs, groups, stride = OP.unpack_from(
            blob, HEADER.size + MAP.size * maps + OP.size * i)[:9]
        before = f'{height}x{width}' if source == NO_MAP else '{1}x{2}'.format(*sizes[source])
        after = '' if target == NO_MAP else ' {1}x{2}'.format(*sizes[target])
        more = (f' groups {groups}' if groups > 1 else '') + (f' stride {stride}' if stride > 1 else '')
        lines.append(f'{KINDS[kind]:<10} {inputs:>4} {before} ->{outputs:>5}{after}{more}')
    return lines
