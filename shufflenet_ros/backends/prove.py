"""Prove that a backend does what its card says: the golden sample, and finite answers to any picture."""

import numpy as np

from shufflenet_ros.backends.errors import ModelError, mismatch
from shufflenet_ros.core.card import Card
from shufflenet_ros.core.frame import Backend, Picture
from shufflenet_ros.core.golden import golden_picture
from shufflenet_ros.core.preprocess import prepare


def prove(backend: Backend, card: Card, what: str) -> None:
    """Run the golden picture, a black and a white one; this warms the backend up as well.

    Args:
        what: the model's name or path, for the errors.

    Raises:
        ModelError: no answer, one that is not finite, or not the golden one.
    """
    try:
        _prove(backend, card, what)
    except ModelError:
        raise
    except Exception as error:
        cause = f'{type(error).__name__}: {" ".join(str(error).split())[:300]}'
        raise mismatch(what, 'an answer to a probe picture', cause,
                       'check the card, or export the model again') from error


def _prove(backend: Backend, card: Card, what: str) -> None:
    size = card.input.size
    flat = [Picture(np.full((*size, 3), value, np.uint8), 'rgb') for value in (0, 255)]
    for picture in (golden_picture(size), *flat):
        outputs = backend.run(prepare(picture, card.input))
        for role, values in (('logits', outputs.logits), ('embedding', outputs.embedding)):
            if values is not None and not np.isfinite(values).all():
                raise mismatch(what, f'finite {role}', 'NaN or infinity for a probe picture',
                               'check the card (input.scale, mean, std), or export the model again')
    if card.golden is not None and (off := golden_error(backend, card)) > card.golden.tolerance:
        raise mismatch(what, f'the golden logits within {card.golden.tolerance:g} of the largest',
                       f'{off:.3g} off on {backend.provider}',
                       'check input.* of the card, or choose another provider')


def golden_error(backend: Backend, card: Card) -> float:
    """The largest difference from the golden logits, relative to the largest of them; 0 without any."""
    if card.golden is None:
        return 0.0
    expected = np.asarray(card.golden.logits, np.float64)
    logits = backend.run(prepare(golden_picture(card.input.size), card.input)).logits[:len(expected)]
    if logits.shape != expected.shape:
        return float('inf')
    return float(np.abs(logits - expected).max() / max(np.abs(expected).max(), 1e-12))
