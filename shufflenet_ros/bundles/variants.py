# SPDX-License-Identifier: Apache-2.0
"""A bundle's variants, sibling files for another precision or backend; and the one file that runs."""

from dataclasses import dataclass, field
from pathlib import Path

from shufflenet_ros.bundles.bundle import Bundle
from shufflenet_ros.bundles.errors import ModelError, mismatch
from shufflenet_ros.bundles.files import read_regular, sha256_of
from shufflenet_ros.bundles.index import MAX_MODEL_BYTES, NAME
from shufflenet_ros.bundles.onnx_file import read_summary
from shufflenet_ros.core.card import Card, Golden, Variant

BACKENDS = ('auto', 'native', 'onnxruntime')
PRECISIONS = ('fp32', 'fp16', 'int8')
"""In the order of `enum sn_precision` of our C library."""


class VariantUnavailableError(ModelError):
    """This machine cannot run the variant with its current setup; the variant itself may be fine."""


@dataclass(frozen=True)
class ResolvedModel:
    """The file that runs, read once: a bundle's own graph, or one of its variants.

    Verification and the backends take it from here, so that all of them see the same bytes.

    Attributes:
        variant: its entry in the bundle's card; None for the bundle's own graph.
        data: the bytes of the file at path, whose hash is sha256.
        trusted: whether an index of this machine vouches for the hash. Other files are verified in a
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
    def precision(self) -> str:
        """One of PRECISIONS; '' for a graph whose card does not state it."""
        return self.variant.precision if self.variant else graph_precision(self.card)

    @property
    def golden(self) -> Golden | None:
        """The logits that it must give; a variant without any is compared with the bundle's graph."""
        if self.variant is None or (self.variant.golden is None and self.variant.precision == 'fp32'):
            return self.card.golden
        return self.variant.golden


def graph_precision(card: Card) -> str:
    """The precision of the bundle's own graph; '' if the card does not state it.

    A network of our zoo is exported as fp32, and native variants are packed from fp32 graphs only.
    """
    ours = card.network_config or any(variant.backend == 'native' for variant in card.variants)
    return 'fp32' if ours else ''


def precisions(card: Card, backend: str) -> list[str]:
    """The precisions that a backend can run; auto: any backend."""
    found = {variant.precision for variant in card.variants
             if not variant.target and backend in ('auto', variant.backend)}
    if backend != 'native':
        found.add(graph_precision(card))
    return [precision for precision in PRECISIONS if precision in found]


def no_such_precision_error(bundle: Bundle, backend: str, precision: str) -> ModelError:
    """The error for a precision that the bundle doesn't have; lists those it has."""
    available = precisions(bundle.card, backend)
    of = '' if backend == 'auto' else f' for backend {backend}'
    expected = f'a precision that the bundle has{of}: {", ".join(available) or "its card names none"}'
    remedies = [] if backend == 'native' else ['leave precision at auto']
    remedies += [f'choose one of {available}'] if available else []
    remedies += ['use backend auto'] if backend == 'native' else []
    return mismatch(str(bundle.path), expected, repr(precision), ', or '.join(remedies))


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
    raise no_such_precision_error(bundle, backend, precision)
