# SPDX-License-Identifier: Apache-2.0
"""Count the ARM instructions of one inference, from a frame's bytes to logits, without an ARM machine.

    python -m benchmarks.arm.count --reference shufflenet_v1_x0_5_g3
    python -m benchmarks.arm.count --model models/some.onnx --backend onnxruntime --cpu cortex-a72

The program runs under qemu-user. A plugin counts the instructions of its third inference: the same number on
every machine and under any load, for one compiler. Missing tools are installed if this is root on Debian or
Ubuntu.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

if not __package__:  # `python benchmarks/arm/count.py`: search where `python -m` does
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from benchmarks.arm.emulate import CPUS, EmulationError, emulate, inference_marks
from benchmarks.arm.native_count import compiler_version, count_native
from benchmarks.arm.prepare import PrepareError, ensure_guest, guest_python, log
from benchmarks.arm.subject import InstructionCount, Subject, bundle, reference
from shufflenet_ros.bundles.errors import mismatch
from shufflenet_ros.bundles.variants import PRECISIONS
from shufflenet_ros.core.errors import ShuffleNetError

GUEST_PROGRAM = Path(__file__).with_name('guest.py')
PRECISION = 'fp32'
"""The precision of the graphs in onnxruntime."""


def count_onnxruntime(subject: Subject, cpu: str, precision: str = PRECISION, layers: bool = False
                      ) -> InstructionCount:
    """Count a call of session.run() of the aarch64 onnxruntime, in an emulated arm64 Python.

    Raises:
        PrepareError: no arm64 Python here.
        EmulationError: another precision or `layers` was requested, or the program failed.
    """
    if precision != PRECISION:
        raise EmulationError(f'onnxruntime runs the graph in {PRECISION}: leave --precision {precision} out, '
                             'or count --backend native')
    if layers:
        raise EmulationError('--layers is for --backend native: onnxruntime sets no marks between its '
                             'operations')
    guest = ensure_guest()
    with tempfile.TemporaryDirectory(prefix='arm-') as scratch:
        model, frame, logits = (Path(scratch) / name for name in ('model.onnx', 'frame.npy', 'logits.npy'))
        model.write_bytes(subject.graph)
        np.save(frame, subject.tensor)
        marks, version = emulate(cpu, [guest_python(guest), '-I', GUEST_PROGRAM, guest / 'site', model, frame,
                                       subject.output, logits], guest / 'root')
        begin, end = inference_marks(marks)
        return subject.count(precision, f'onnxruntime {version.strip()}', end - begin, np.load(logits)[0])


BACKENDS = {'native': count_native, 'onnxruntime': count_onnxruntime}


def precisions_of(subject: Subject, backend: str, cpu: str, requested: Sequence[str] = ()) -> list[str]:
    """Return the requested precisions, or all that the backend has for this subject and CPU.

    Raises:
        ModelError: a requested precision is not available, or none is.
    """
    available = subject.precisions if backend == 'native' else (PRECISION,)
    if unknown := [precision for precision in requested if precision not in available]:
        choices = ', '.join(available) or 'no precision at all'
        raise mismatch(subject.name, f'some of {choices} with {backend}', ', '.join(unknown),
                       'leave --precision out')
    chosen = list(requested) or [precision for precision in available if precision in CPUS[cpu].precisions]
    if not chosen:
        raise mismatch(subject.name, 'native variants in its card', 'none',
                       'make them with `shufflenet-ros models pack`, or count --backend onnxruntime')
    return chosen


def measure(subject: Subject, backend: str, cpu: str, precisions: Sequence[str] = (), layers: bool = False
            ) -> dict[str, InstructionCount]:
    """Return the count of each precision.

    Raises:
        ModelError, EmulationError, WrongResultError: see BACKENDS and precisions_of.
        PrepareError: a tool is missing.
    """
    counts = {}
    for precision in precisions_of(subject, backend, cpu, precisions):
        log(f'counting {subject.name} {precision} by {backend} on {cpu}')
        counts[precision] = BACKENDS[backend](subject, cpu, precision, layers)
    return counts


def _lines(subject: Subject, cpu: str, counts: Mapping[str, InstructionCount]) -> list[str]:
    lines = [f'{subject.name} on {cpu}, million instructions']
    for precision, count in counts.items():
        top = 'same' if count.same_top else 'DIFFERENT'
        lines.append(f'{precision:<5} {count.instructions / 1e6:9.3f}  {count.kernels}, error '
                     f'{count.error:.1e} of the largest logit, {top} best class')
        lines += [f'      {instructions / 1e6:9.3f}  {layer}' for layer, instructions in count.layers]
    return lines


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='python -m benchmarks.arm.count', description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument('--reference', metavar='NAME', help='a network of the zoo (see `shufflenet-ros '
                      'complexity`) with seeded weights, 224 px, 1000 classes; needs torch')
    what.add_argument('--model', metavar='BUNDLE', help='name or path of a bundle')
    parser.add_argument('--backend', choices=BACKENDS, default='native', help='default: %(default)s')
    parser.add_argument('--cpu', choices=CPUS, default='cortex-a76', help='default: %(default)s')
    parser.add_argument('--precision', choices=PRECISIONS, nargs='+', default=[],
                        help='default: all that the backend, the model and the CPU have')
    parser.add_argument('--layers', action='store_true', help='also for each operation (native)')
    parser.add_argument('--json', action='store_true', help='print one JSON object')
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Count and print; return 1, with the reason on stderr, if that fails or the logits are wrong."""
    args = _parser().parse_args(argv)
    try:
        subject = reference(args.reference) if args.reference else bundle(args.model)
        counts = measure(subject, args.backend, args.cpu, args.precision, args.layers)
    except (ShuffleNetError, PrepareError, ImportError) as error:
        remedy = ': --reference needs the extra `train` (torch); --model does not'
        print(f'count: {error}{remedy if isinstance(error, ImportError) else ""}', file=sys.stderr)
        return 1
    lines = '\n'.join(_lines(subject, args.cpu, counts))
    print(lines, file=sys.stderr if args.json else sys.stdout)
    if args.json:
        instructions = {precision: count.instructions for precision, count in counts.items()}
        compiler = {'compiler': compiler_version()} if args.backend == 'native' else {}
        print(json.dumps({'model': subject.name, 'cpu': args.cpu, 'instructions': instructions,
                          'backend': args.backend, **compiler}))
    return 0


if __name__ == '__main__':
    sys.exit(main())
