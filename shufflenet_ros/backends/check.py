"""What `models check` finds: whether a bundle and each of its variants load and answer on this machine."""

from typing import Any

from shufflenet_ros.backends.load import LoadedModel, load
from shufflenet_ros.backends.verify import distance, golden_error
from shufflenet_ros.bundles.errors import ModelError
from shufflenet_ros.bundles.variants import BACKENDS, VariantUnavailableError
from shufflenet_ros.core.card import Variant

Finding = dict[str, Any]


def finding(loaded: LoadedModel) -> Finding:
    """What runs, why, and how far it is from the golden logits or, in another precision, from the graph.

    `golden_error` is relative to the largest golden logit and None without any; `distance` is that of
    backends.verify and None where the golden logits are the measure.
    """
    lower = loaded.precision not in ('', 'fp32')
    expected = None if lower else loaded.card.golden
    golden = golden_error(loaded.backend, loaded.card, expected) if expected else None
    return {'backend': loaded.backend.name, 'provider': loaded.backend.provider,
            'precision': loaded.precision, 'reason': loaded.reason, 'golden_error': golden,
            'distance': distance(loaded.backend, loaded.bundle) if lower else None}


def agreement(found: Finding) -> str:
    """The measure of a finding in words."""
    if found['distance'] is not None:
        return f'logits {found["distance"]:.2g} away from the graph\'s'
    if found['golden_error'] is not None:
        return f'golden logits within {found["golden_error"]:.2g}'
    return 'the card has no golden sample'


def check_variants(model: str, card_file: str, loaded: LoadedModel) -> list[Finding]:
    """A finding for each variant of the card: `ok` is None where this machine cannot tell, with the cause."""
    return [{'file': variant.file, 'backend': variant.backend, 'precision': variant.precision}
            | _check_variant(model, card_file, variant) for variant in loaded.card.variants]


def _check_variant(model: str, card_file: str, variant: Variant) -> Finding:
    if variant.target or variant.backend not in BACKENDS[1:]:
        return {'ok': None, 'cause': f'it is for {variant.target or "backend " + variant.backend}'}
    try:
        return {'ok': True} | finding(load(model, card=card_file, backend=variant.backend,
                                           precision=variant.precision))
    except VariantUnavailableError as error:
        return {'ok': None, 'cause': str(error)}
    except ModelError as error:
        return {'ok': False, 'cause': str(error)}


def variant_line(found: Finding) -> str:
    """A finding about a variant, for people."""
    if found['ok']:
        return f'{found["file"]}: yes: answers on {found["backend"]} {found["provider"]}; {agreement(found)}'
    return f'{found["file"]}: {"no" if found["ok"] is False else "not here"}: {found["cause"]}'
