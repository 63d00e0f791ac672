"""Count the ARM instructions of one inference, from a frame's bytes to logits, without an ARM machine.

    python -m benchmarks.arm.count --reference shufflenet_v1_x0_5_g3
    python -m benchmarks.arm.count --model models/some.onnx --backend onnxruntime --cpu cortex-a72

The program runs under qemu-user, and a plugin counts what it retires in its third inference: the same on
every machine and under any load, for one compiler. Missing tools are installed where this is root on Debian
or Ubuntu.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

if not __package__:  # `python benchmarks/arm/count.py`: begin where `python -m` does
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from benchmarks.arm.emulate import CPUS, EmulationError
from benchmarks.arm.native_count import compiler_version, count_native
from benchmarks.arm.onnxruntime_count import PRECISION, count_onnxruntime
from benchmarks.arm.outcome import Outcome, WrongResultError
from benchmarks.arm.prepare import PrepareError, say
from benchmarks.arm.subject import Subject, bundle, reference
from shufflenet_ros.bundles.errors import ModelError, mismatch
from shufflenet_ros.bundles.variants import PRECISIONS
from shufflenet_ros.zoo.errors import ZooError


class Count(Protocol):
    """Counts one inference of a subject; see count_native."""

    def __call__(self, subject: Subject, cpu: str, precision: str, layers: bool = False) -> Outcome:
        """One inference on one CPU."""


BACKENDS: Mapping[str, Count] = {'native': count_native, 'onnxruntime': count_onnxruntime}


def precisions_of(subject: Subject, backend: str, cpu: str, asked: Sequence[str] = ()) -> list[str]:
    """What is counted: what was asked for, or all that the backend has for this subject and CPU.

    Raises:
        ModelError: a precision that isn't there was asked for, or there is none.
    """
    there = subject.precisions if backend == 'native' else (PRECISION,)
    if unknown := [precision for precision in asked if precision not in there]:
        raise mismatch(subject.name, f'some of {", ".join(there) or "no precision at all"} with {backend}',
                       ', '.join(unknown), 'leave --precision out')
    chosen = list(asked) or [precision for precision in there if precision in CPUS[cpu].precisions]
    if not chosen:
        raise mismatch(subject.name, 'native variants in its card', 'none',
                       'make them with `shufflenet-ros models pack`, or count --backend onnxruntime')
    return chosen


def measure(subject: Subject, backend: str, cpu: str, precisions: Sequence[str] = (), layers: bool = False
            ) -> dict[str, Outcome]:
    """An outcome for each precision.

    Raises:
        ModelError, PrepareError, EmulationError, WrongResultError: as BACKENDS and precisions_of say.
    """
    outcomes = {}
    for precision in precisions_of(subject, backend, cpu, precisions):
        say(f'counting {subject.name} {precision} by {backend} on {cpu}')
        outcomes[precision] = BACKENDS[backend](subject, cpu, precision, layers)
    return outcomes


def report(subject: Subject, backend: str, cpu: str, outcomes: Mapping[str, Outcome]) -> dict[str, object]:
    """What --json prints."""
    found: dict[str, object] = {
        'model': subject.name, 'cpu': cpu,
        'instructions': {precision: outcome.instructions for precision, outcome in outcomes.items()},
        'backend': backend}
    return found | ({'compiler': compiler_version()} if backend == 'native' else {})


def _lines(subject: Subject, cpu: str, outcomes: Mapping[str, Outcome]) -> list[str]:
    lines = [f'{subject.name} on {cpu}, million instructions']
    for precision, found in outcomes.items():
        top = 'same' if found.same_top else 'OTHER'
        lines.append(f'{precision:<5} {found.instructions / 1e6:9.3f}  {found.kernels}, error '
                     f'{found.error:.1e} of the largest logit, {top} best class')
        lines += [f'      {count / 1e6:9.3f}  {what}' for what, count in found.layers]
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    """Count and print; 1 with the reason where it can't be done, or the answers are wrong."""
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
    args = parser.parse_args(argv)
    try:
        subject = reference(args.reference) if args.reference else bundle(args.model)
        outcomes = measure(subject, args.backend, args.cpu, args.precision, args.layers)
    except ImportError as error:
        print(f'count: {error}: --reference needs the extra `train` (torch); --model does not',
              file=sys.stderr)
        return 1
    except (ModelError, ZooError, PrepareError, EmulationError, WrongResultError) as error:
        print(f'count: {error}', file=sys.stderr)
        return 1
    lines = '\n'.join(_lines(subject, args.cpu, outcomes))
    print(lines, file=sys.stderr if args.json else sys.stdout)
    if args.json:
        print(json.dumps(report(subject, args.backend, args.cpu, outcomes)))
    return 0


if __name__ == '__main__':
    sys.exit(main())
