# SPDX-License-Identifier: Apache-2.0
"""A bundle's variants (other files of the same model): which of them may run, and the file that runs."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shufflenet_ros.bundles.bundle import Bundle
from shufflenet_ros.bundles.errors import ModelError, mismatch
from shufflenet_ros.bundles.files import read_regular, sha256_of
from shufflenet_ros.bundles.index import MAX_MODEL_BYTES, NAME
from shufflenet_ros.bundles.onnx_file import read_summary
from shufflenet_ros.core.card import Card, Golden, Variant

AUTO = 'auto'
BACKENDS = (AUTO, 'native', 'onnxruntime')
PRECISIONS = ('fp32', 'fp16', 'int8')
"""In the order of `enum sn_precision` in the C library."""
MAX_ACCURACY_LOSS = 0.6
"""Points of top-1 that `precision: auto` may cost, against the bundle's own graph."""


class VariantUnavailableError(ModelError):
    """This machine cannot run the variant with its current setup; the variant itself may be fine."""


@dataclass(frozen=True)
class ResolvedModel:
    """The file that runs, read once: a bundle's own graph, or one of its variants.

    Verification and the backends get the file from here, so all of them see the same bytes.

    Attributes:
        variant: its entry in the bundle's card; None for the bundle's own graph.
        data: the bytes of the file at path, whose hash is sha256.
        trusted: whether an index of this machine lists the hash. Other files are verified in a
            subprocess first. A variant is trusted with its bundle, if the card is inside the bundle's file.
    """

    bundle: Bundle
    variant: Variant | None
    path: Path
    data: bytes = field(repr=False)
    sha256: str
    trusted: bool

    @property
    def card(self) -> Card:
        """The bundle's card."""
        return self.bundle.card

    @property
    def backend(self) -> str:
        """The backend that runs it: native or onnxruntime."""
        return self.variant.backend if self.variant else 'onnxruntime'

    @property
    def precision(self) -> str:
        """One of PRECISIONS; '' for a graph whose card does not state it."""
        return self.variant.precision if self.variant else graph_precision(self.card)

    @property
    def golden(self) -> Golden | None:
        """The expected logits; a variant without any is compared with the bundle's graph."""
        if self.variant is None or (self.variant.golden is None and self.variant.precision == 'fp32'):
            return self.card.golden
        return self.variant.golden


def resolve(bundle: Bundle, variant: Variant | None = None) -> ResolvedModel:
    """The bundle's own graph, or the variant's file, which is beside the bundle's.

    Raises:
        VariantUnavailableError: the file is not there.
        ModelError: not a plain name, not readable, too large, another sha256, or not a single ONNX file.
    """
    if variant is None:
        return ResolvedModel(bundle, None, bundle.path, bundle.data, bundle.sha256, bundle.trusted)
    if not NAME.fullmatch(variant.file):
        raise mismatch(f'{bundle.path}: variant', 'the plain name of a file beside it',
                       repr(variant.file[:100]), 'correct the card')
    path = bundle.path.with_name(variant.file)
    if not path.exists():
        source = f'copy it from where {bundle.path.name} came from'
        raise VariantUnavailableError(f'{path}: no such file; {source}')
    data = read_regular(path, MAX_MODEL_BYTES)
    if (digest := sha256_of(data)) != variant.sha256:
        raise mismatch(str(path), f'sha256 {variant.sha256}, as in the card', digest,
                       f'get it again, or export {bundle.path.name} again')
    if variant.backend != 'native':
        read_summary(data)
    trusted = bundle.trusted and bundle.card_from == 'in the file'
    return ResolvedModel(bundle, variant, path, data, digest, trusted)


def resolve_variant(bundle: Bundle, backend: str, precision: str) -> ResolvedModel:
    """The bundle's variant for a backend on any processor.

    Raises:
        ModelError: there is none, or see `resolve`.
    """
    for variant in bundle.card.variants:
        if not variant.target and (variant.backend, variant.precision) == (backend, precision):
            return resolve(bundle, variant)
    raise _no_such_precision(bundle, backend, precision)


def graph_precision(card: Card) -> str:
    """The precision of the bundle's own graph; '' if the card does not state it.

    The zoo's networks are exported as fp32, and native variants are packed from fp32 graphs only.
    """
    fp32 = card.network_config or any(variant.backend == 'native' for variant in card.variants)
    return 'fp32' if fp32 else ''


def precisions(card: Card, backend: str) -> list[str]:
    """The precisions that a backend can run; auto: any backend."""
    found = {variant.precision for variant in card.variants
             if not variant.target and backend in (AUTO, variant.backend)}
    if backend != 'native':
        found.add(graph_precision(card))
    return [precision for precision in PRECISIONS if precision in found]


def accuracy_loss(card: Card, variant: Variant | None) -> float:
    """Points of top-1 that a variant loses against the graph, by the card's metrics; inf if not measured.

    Both figures count only if they come from the same number of images.
    """
    if variant is None:
        return 0.0
    loss = _top1(card.metrics) - _top1(variant.metrics)
    images = card.metrics.get('images')
    if math.isnan(loss) or type(images) is not int or variant.metrics.get('images') != images:
        return math.inf
    return round(100 * loss, 3)


def _top1(metrics: Mapping[str, Any]) -> float:
    """Top-1 in [0, 1]; NaN if the metrics have none, or not a sensible one."""
    top1 = metrics.get('top1')
    return float(top1) if isinstance(top1, (int, float)) and 0 <= top1 <= 1 else math.nan


@dataclass(frozen=True)
class LoadRequest:
    """The arguments of `backends.load.load`, checked.

    Raises:
        ModelError: a value that doesn't exist, or that native kernels don't support.
    """

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
    def why_not_native(self) -> str:
        """Why backend auto leaves out the native kernels, in words; '' if it doesn't."""
        if self.backend == AUTO and self.provider != 'cpu':
            return f'provider {self.provider} was requested'
        if self.backend == AUTO and self.threads != 1:
            return f'{self.threads} threads were requested, and native kernels run on one'
        return ''

    def allows(self, card: Card, variant: Variant | None) -> bool:
        """Whether a variant may run, or, if it is None, the bundle's own graph."""
        own = graph_precision(card)
        backend, precision = (variant.backend, variant.precision) if variant else ('onnxruntime', own)
        if backend not in BACKENDS[1:] or self.backend not in (AUTO, backend) or (variant and variant.target):
            return False
        if backend == 'native' and self.why_not_native:
            return False
        if self.precision != AUTO:
            return precision == (self.precision or own)
        return precision == own or accuracy_loss(card, variant) <= self.max_accuracy_loss


def find_candidates(bundle: Bundle, request: LoadRequest) -> dict[str, Variant | None]:
    """What may run: backend and precision, such as 'native fp16', -> variant, or None for the bundle's graph.

    Raises:
        ModelError: nothing in the card fits.
    """
    card, precision = bundle.card, request.precision
    found: dict[str, Variant | None] = {
        f'{variant.backend} {variant.precision}': variant
        for variant in card.variants if request.allows(card, variant)}
    if request.allows(card, None):  # replaces a variant of the same precision for onnxruntime
        found[f'onnxruntime {graph_precision(card)}'.strip()] = None
    if found:
        return found
    if request.why_not_native and precision in precisions(card, AUTO):
        raise no_onnx_file_error(bundle, precision, request.why_not_native)
    if precision == AUTO and (losses := _losses(card)):
        raise mismatch(str(bundle.path), f'a native variant that loses at most {request.max_accuracy_loss:g} '
                       'points of top-1', losses, 'name its precision, or use backend auto')
    raise _no_such_precision(bundle, request.backend, precision or graph_precision(card))


def _no_such_precision(bundle: Bundle, backend: str, precision: str) -> ModelError:
    available = precisions(bundle.card, backend)
    scope = '' if backend == AUTO else f' for backend {backend}'
    expected = f'a precision that the bundle has{scope}: {", ".join(available) or "its card names none"}'
    remedies = [] if backend == 'native' else ['leave precision at auto']
    remedies += [f'choose one of {available}'] if available else []
    remedies += ['use backend auto'] if backend == 'native' else []
    return mismatch(str(bundle.path), expected, repr(precision), ', or '.join(remedies))


def no_onnx_file_error(bundle: Bundle, precision: str, cause: str) -> VariantUnavailableError:
    """The error if native kernels cannot be used and onnxruntime has no file of that precision."""
    return VariantUnavailableError(
        f'{bundle.path}: {precision} cannot run here: {cause}. The bundle has no file of it for onnxruntime: '
        'leave precision at auto, or remove the cause')


def _losses(card: Card) -> str:
    """What each native variant loses, in words; '' if there is none."""
    losses = {variant.precision: accuracy_loss(card, variant) for variant in card.variants
              if variant.backend == 'native' and not variant.target}
    return ', '.join(f'{precision} has no figures' if math.isinf(loss) else
                     f'{precision} loses {loss:g} points' for precision, loss in losses.items())


def reason_for_single_candidate(bundle: Bundle, request: LoadRequest) -> str:
    """Why there is only one candidate, in words."""
    if request.backend != AUTO:
        return 'it was requested'
    if request.why_not_native:
        return request.why_not_native
    if request.precision == AUTO and (losses := _losses(bundle.card)):
        return f'no variant is known to lose at most {request.max_accuracy_loss:g} points of top-1: {losses}'
    return 'nothing else in the bundle fits'
