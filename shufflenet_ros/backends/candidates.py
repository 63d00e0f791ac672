# SPDX-License-Identifier: Apache-2.0
"""The candidates for running a bundle, from the request and the card."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shufflenet_ros.bundles.bundle import Bundle
from shufflenet_ros.bundles.errors import mismatch
from shufflenet_ros.bundles.variants import (
    BACKENDS,
    PRECISIONS,
    VariantUnavailableError,
    graph_precision,
    no_such_precision_error,
    precisions,
)
from shufflenet_ros.core.card import Card, Variant

AUTO = 'auto'
MAX_ACCURACY_LOSS = 0.6
"""Points of top-1 that `precision: auto` may cost, against the bundle's own graph."""


@dataclass(frozen=True)
class LoadRequest:
    """The arguments of `load`, checked."""

    backend: str
    precision: str
    provider: str
    threads: int
    max_accuracy_loss: float

    def __post_init__(self) -> None:
        if self.backend not in BACKENDS:
            raise mismatch('backend', f'one of {list(BACKENDS)}', repr(self.backend[:80]),
                           'correct the parameter')
        if self.precision not in (AUTO, '', *PRECISIONS):
            raise mismatch('precision', f'one of {[AUTO, *PRECISIONS]}', repr(self.precision[:80]),
                           'correct the parameter')
        if self.backend == 'native' and self.provider not in ('cpu', AUTO):
            raise mismatch('provider', 'cpu with backend native', repr(self.provider[:80]),
                           'use backend onnxruntime')
        if self.backend == 'native' and self.threads != 1:
            raise mismatch('threads', '1 with backend native', str(self.threads),
                           'use 1, or backend onnxruntime')

    @property
    def no_native(self) -> str:
        """Why backend auto means onnxruntime, as text; '' if it doesn't."""
        if self.backend == AUTO and self.provider != 'cpu':
            return f'provider {self.provider} was requested'
        if self.backend == AUTO and self.threads != 1:
            return f'{self.threads} threads were requested, and native kernels run on one'
        return ''


@dataclass(frozen=True)
class Candidate:
    """One way to run a bundle: its own graph in onnxruntime, or one of its variants.

    Attributes:
        precision: fp32, fp16 or int8; '' for a graph whose card does not state it.
        variant: None for the bundle's own graph.
    """

    backend: str
    precision: str
    variant: Variant | None = None

    def __str__(self) -> str:
        return f'{self.backend} {self.precision}'.strip()


def _fitting(card: Card, request: LoadRequest) -> list[Candidate]:
    """What the card offers for the requested backend and precision."""
    own = graph_precision(card)
    variants = [Candidate(variant.backend, variant.precision, variant)
                  for variant in card.variants if not variant.target]
    graph = Candidate('onnxruntime', own)

    def fits(candidate: Candidate) -> bool:
        if candidate.backend not in BACKENDS[1:] or request.backend not in (AUTO, candidate.backend):
            return False
        if request.precision != AUTO:
            return candidate.precision == (request.precision or own)
        return (candidate.precision == own
                or accuracy_loss(card, candidate.variant) <= request.max_accuracy_loss)
    # Keyed by name: the graph replaces a variant of its own precision for onnxruntime.
    return list({str(candidate): candidate for candidate in [*variants, graph] if fits(candidate)}.values())


def accuracy_loss(card: Card, variant: Variant | None) -> float:
    """Points of top-1 that a variant loses against the graph, by the card's metrics; inf if not measured.

    Both figures count only if they come from the same number of images.
    """
    if variant is None:
        return 0.0
    graph, ours = (_top1(metrics) for metrics in (card.metrics, variant.metrics))
    images = card.metrics.get('images')
    if math.isnan(graph - ours) or type(images) is not int or variant.metrics.get('images') != images:
        return math.inf
    return round(100 * (graph - ours), 3)


def _top1(metrics: Mapping[str, Any]) -> float:
    """Top-1 in [0, 1]; NaN if the metrics have none, or not a sensible one."""
    top1 = metrics.get('top1')
    return float(top1) if isinstance(top1, (int, float)) and 0 <= top1 <= 1 else math.nan


def find_candidates(bundle: Bundle, request: LoadRequest) -> list[Candidate]:
    """What may run here; at least one.

    Raises:
        ModelError: nothing in the card fits.
    """
    precision = request.precision
    if precision in PRECISIONS and precision not in precisions(bundle.card, request.backend):
        raise no_such_precision_error(bundle, request.backend, precision)
    found = _fitting(bundle.card, request)
    if request.no_native:
        found = [candidate for candidate in found if candidate.backend != 'native']
    if found:
        return found
    if request.no_native:
        raise no_onnx_file_error(bundle, precision, request.no_native)
    if precision == AUTO and (losses := _losses(bundle.card)):
        raise mismatch(str(bundle.path), f'a native variant that loses at most {request.max_accuracy_loss:g} '
                       'points of top-1', losses, 'name its precision, or use backend auto')
    raise no_such_precision_error(bundle, request.backend, precision or graph_precision(bundle.card))


def no_onnx_file_error(bundle: Bundle, precision: str, cause: str) -> VariantUnavailableError:
    """The error if native kernels cannot be used and onnxruntime has no file of that precision."""
    return VariantUnavailableError(
        f'{bundle.path}: {precision} cannot run here: {cause}. The bundle has no file of it for onnxruntime: '
        'leave precision at auto, or remove the cause')


def _losses(card: Card) -> str:
    """What each native variant loses, as text; '' if there is none."""
    found = {variant.precision: accuracy_loss(card, variant) for variant in card.variants
             if variant.backend == 'native' and not variant.target}
    return ', '.join(f'{precision} loses {loss:g} points' if loss < float('inf')
                     else f'{precision} has no figures' for precision, loss in found.items())


def reason_for_single_candidate(bundle: Bundle, request: LoadRequest) -> str:
    """Why there is only one candidate."""
    if request.backend != AUTO:
        return 'it was requested'
    if request.no_native:
        return request.no_native
    if request.precision == AUTO and (losses := _losses(bundle.card)):
        return f'no variant is known to lose at most {request.max_accuracy_loss:g} points of top-1: {losses}'
    return 'nothing else in the bundle fits'
