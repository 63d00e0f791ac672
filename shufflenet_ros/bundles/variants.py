"""A bundle's variants: sibling files of the same network for another precision or backend."""

from dataclasses import dataclass, field
from pathlib import Path

from shufflenet_ros.bundles.bundle import Bundle
from shufflenet_ros.bundles.errors import ModelError, mismatch
from shufflenet_ros.bundles.files import read_regular, sha256_of
from shufflenet_ros.bundles.index import MAX_MODEL_BYTES, NAME
from shufflenet_ros.core.card import Card, Variant

BACKENDS = ('auto', 'native', 'onnxruntime')
PRECISIONS = ('fp32', 'fp16', 'int8')
"""In the order of `enum sn_precision` of our C library."""


class VariantUnavailableError(ModelError):
    """Nothing says that the variant is bad, but this machine can't run it as it is set up."""


@dataclass(frozen=True)
class VariantFile:
    """A variant as it was read.

    Attributes:
        data: the file's bytes, which have the sha256 of the card's entry.
        trusted: whether an index of this machine vouches for that sha256: it lists the bundle, and the
            card is the one inside. Others are first verified in a child process.
    """

    variant: Variant
    path: Path
    data: bytes = field(repr=False)
    trusted: bool


def graph_precision(card: Card) -> str:
    """The precision of the bundle's own graph; '' where the card doesn't tell.

    A network of our zoo is exported as fp32, and native variants are packed from fp32 graphs alone.
    """
    ours = card.network_config or any(variant.backend == 'native' for variant in card.variants)
    return 'fp32' if ours else ''


def find_variant(card: Card, backend: str, precision: str) -> Variant | None:
    """The card's variant for a backend on any processor."""
    return next((variant for variant in card.variants if not variant.target
                 and (variant.backend, variant.precision) == (backend, precision)), None)


def precisions(card: Card, backend: str) -> list[str]:
    """What a backend can be asked for by name; auto: any backend."""
    found = {variant.precision for variant in card.variants
             if not variant.target and backend in ('auto', variant.backend)}
    if backend != 'native':
        found.add(graph_precision(card))
    return [precision for precision in PRECISIONS if precision in found]


def no_such_precision(bundle: Bundle, backend: str, precision: str) -> ModelError:
    """Says which precisions there are instead."""
    there = precisions(bundle.card, backend)
    of = '' if backend == 'auto' else f' for backend {backend}'
    expected = f'a precision that the bundle has{of}: {", ".join(there) or "its card names none"}'
    others = [] if backend == 'native' else ['leave precision at auto']
    others += [f'choose one of {there}'] if there else []
    others += ['use backend auto'] if backend == 'native' else []
    return mismatch(str(bundle.path), expected, repr(precision), ', or '.join(others))


def read_variant(bundle: Bundle, variant: Variant) -> VariantFile:
    """Read a variant's file, which lies beside the bundle's.

    Raises:
        VariantUnavailableError: the file is not there.
        ModelError: not a plain name, not readable, too large, another sha256.
    """
    if not NAME.fullmatch(variant.file):
        raise mismatch(f'{bundle.path}: variant', 'the plain name of a file beside it',
                       repr(variant.file[:100]), 'correct the card')
    path = bundle.path.with_name(variant.file)
    if not path.exists():
        raise VariantUnavailableError(f'{path}: no such file; copy it from where {bundle.path.name} came from')
    data = read_regular(path, MAX_MODEL_BYTES)
    if (digest := sha256_of(data)) != variant.sha256:
        raise mismatch(str(path), f'sha256 {variant.sha256}, as in the card', digest,
                       f'get it again, or export {bundle.path.name} again')
    return VariantFile(variant, path, data, bundle.trusted and bundle.card_from == 'in the file')
