# SPDX-License-Identifier: Apache-2.0
"""Count an inference by onnxruntime: the aarch64 wheel in an emulated arm64 Python."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from benchmarks.arm.emulate import EmulationError, emulate, inference_marks
from benchmarks.arm.prepare import ensure_guest, guest_python
from benchmarks.arm.subject import InstructionCount, Subject

GUEST_PROGRAM = Path(__file__).with_name('guest.py')
PRECISION = 'fp32'
"""The precision of our graphs in onnxruntime."""


def count_onnxruntime(subject: Subject, cpu: str, precision: str = PRECISION, layers: bool = False
                      ) -> InstructionCount:
    """Count from input tensor to logits, session.run() in Python included.

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
