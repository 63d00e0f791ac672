# SPDX-License-Identifier: Apache-2.0
"""Check whether a bundle and its variants load and run on this machine, for `models check` and `show`."""

from typing import Any

from shufflenet_ros.backends.load import LoadedModel, load
from shufflenet_ros.backends.native import load_library
from shufflenet_ros.backends.verify import distance, golden_error
from shufflenet_ros.bundles.bundle import Bundle
from shufflenet_ros.bundles.errors import ModelError
from shufflenet_ros.bundles.variants import BACKENDS, VariantUnavailableError, resolve
from shufflenet_ros.core.card import Variant

CheckResult = dict[str, Any]


def check_result(loaded: LoadedModel) -> CheckResult:
    """What runs, why, and its distance from the golden logits or, in another precision, from the graph.

    `golden_error` is relative to the largest golden logit; None in another precision, or if the card has no
    golden logits. `distance` is that of `backends.verify`; None in the graph's precision.
    """
    lower = loaded.precision not in ('', 'fp32')
    expected = None if lower else loaded.card.golden
    return {'backend': loaded.backend.name, 'provider': loaded.backend.provider,
            'precision': loaded.precision, 'reason': loaded.reason,
            'golden_error': golden_error(loaded.backend, loaded.card, expected) if expected else None,
            'distance': distance(loaded.backend, loaded.bundle) if lower else None}


def describe_agreement(result: CheckResult) -> str:
    """How well the results agree with the golden logits or the graph, in words."""
    if result['distance'] is not None:
        return f'logits {result["distance"]:.2g} away from the graph\'s'
    if result['golden_error'] is not None:
        return f'golden logits within {result["golden_error"]:.2g}'
    return 'the card has no golden sample'


def check_variants(model: str, card_file: str, loaded: LoadedModel) -> list[CheckResult]:
    """A result for each variant; `ok` is None, with the cause, if it can't run on this machine."""
    return [{'file': variant.file, 'backend': variant.backend, 'precision': variant.precision}
            | _check_variant(model, card_file, variant) for variant in loaded.card.variants]


def _check_variant(model: str, card_file: str, variant: Variant) -> CheckResult:
    if variant.target or variant.backend not in BACKENDS[1:]:
        return {'ok': None, 'cause': f'it is for {variant.target or "backend " + variant.backend}'}
    try:
        return {'ok': True} | check_result(load(model, card=card_file, backend=variant.backend,
                                                precision=variant.precision))
    except VariantUnavailableError as error:
        return {'ok': None, 'cause': str(error)}
    except ModelError as error:
        return {'ok': False, 'cause': str(error)}


def describe_variant(result: CheckResult) -> str:
    """A variant's result in one line."""
    if result['ok']:
        return (f'{result["file"]}: yes: runs on {result["backend"]} {result["provider"]}; '
                f'{describe_agreement(result)}')
    return f'{result["file"]}: {"no" if result["ok"] is False else "not here"}: {result["cause"]}'


def variant_states(bundle: Bundle) -> dict[str, str]:
    """File -> 'here' if it has the card's hash and its backend is installed, otherwise the error."""
    return {variant.file: _state(bundle, variant) for variant in bundle.card.variants}


def _state(bundle: Bundle, variant: Variant) -> str:
    try:
        resolve(bundle, variant)
        if variant.backend == 'native':
            load_library()
    except ModelError as error:
        return str(error)
    return 'here'
