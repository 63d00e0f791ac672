"""A count, and how right the counted program's answer was."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.arm.subject import Subject

FP32_ERROR = 1e-5
"""How far fp32 may be from onnxruntime on this machine, in parts of the largest logit."""


class WrongResultError(Exception):
    """The counted program computes something else: its count is worth nothing."""


@dataclass(frozen=True)
class Outcome:
    """One inference on an emulated CPU.

    Attributes:
        instructions: retired, from frame to logits.
        kernels: what ran.
        error: largest difference of a logit to onnxruntime in fp32 on this machine, in parts of the largest.
        same_top: whether the best class is the same.
        layers: instructions by operation, where they were asked for.
    """

    instructions: int
    kernels: str
    error: float
    same_top: bool
    layers: tuple[tuple[str, int], ...] = ()


def outcome(subject: Subject, precision: str, kernels: str, instructions: int,
            logits: npt.NDArray[np.float32], layers: tuple[tuple[str, int], ...] = ()) -> Outcome:
    """Compare the logits and keep the count.

    Raises:
        WrongResultError: fp32, and they differ by more than FP32_ERROR; or they are not finite.
    """
    error = float(np.abs(logits - subject.answer).max() / np.abs(subject.answer).max())
    if not np.isfinite(logits).all() or (precision == 'fp32' and error > FP32_ERROR):
        raise WrongResultError(f"{subject.name} {precision} by {kernels}: its logits differ from onnxruntime's by "
                          f'{error:.1e} of the largest, expected at most {FP32_ERROR:.0e}: no count')
    same = bool(logits.argmax() == subject.answer.argmax())
    return Outcome(instructions, kernels, error, same, layers)
