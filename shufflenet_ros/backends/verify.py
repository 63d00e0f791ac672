# SPDX-License-Identifier: Apache-2.0
"""Verify that a backend does what its card says: golden logits, and finite results for any image."""

from collections.abc import Mapping

import numpy as np

from shufflenet_ros.bundles.bundle import Bundle
from shufflenet_ros.bundles.errors import ModelError, mismatch
from shufflenet_ros.bundles.golden import GOLDEN_LOGITS, golden_image
from shufflenet_ros.bundles.variants import ResolvedModel, resolve
from shufflenet_ros.core.card import Card, Golden
from shufflenet_ros.core.frame import F32, Backend, DecodedImage
from shufflenet_ros.core.preprocess import preprocess

DISTANCES: Mapping[str, float] = {'fp32': 1e-3, 'fp16': 0.05, 'int8': 0.3}
"""How far a variant's logits for the smooth test image may be from those of the bundle's own graph: the
length of the difference, relative to the length of the graph's. Another image's logits are at least 0.8 away,
and so is a network with a broken stem or head; one broken operation in a late unit can be as near as 0.15.
It does not measure accuracy: only labeled images do (`shufflenet-ros evaluate`)."""


def smooth_test_image(size: tuple[int, int]) -> DecodedImage:
    """(H, W, 3) uint8 RGB, one slow wave: 128 + 100 sin(3 y / H + 5 x / W + c).

    The golden image is noise, unlike anything that int8 is calibrated on, so it drives values out of their
    ranges: good int8 variants of our models are up to 1.4 away there, but at most 0.11 here.
    """
    y, x, c = np.ogrid[:size[0], :size[1], :3]
    return DecodedImage((128 + 100 * np.sin(3 * y / size[0] + 5 * x / size[1] + c)).astype(np.uint8), 'rgb')


def verify(backend: Backend, model: ResolvedModel) -> None:
    """Run a golden, a black and a white image, which also warms the backend up, and check the results.

    A model with golden logits must give them, in int8 to the bit. A variant without any must be within
    DISTANCES of the bundle's graph in onnxruntime.

    Raises:
        ModelError: no result, one that is not finite, or one that is too far from the expected.
    """
    what, card, golden = str(model.path), model.card, model.golden
    try:
        _check_finite(backend, card, what)
    except ModelError:
        raise
    except Exception as error:
        cause = f'{type(error).__name__}: {" ".join(str(error).split())[:300]}'
        raise mismatch(what, 'a result for a test image', cause,
                       'check the card, or export the model again') from error
    if golden is not None and (off := golden_error(backend, card, golden)) > golden.tolerance:
        raise mismatch(what, f'the golden logits within {golden.tolerance:g} of the largest',
                       f'{off:.3g} off on {backend.provider}',
                       'check input.* of the card, or choose another provider')
    if golden is None and model.variant is not None:
        limit = DISTANCES[model.precision]
        if (off := distance(backend, model.bundle)) > limit:
            raise mismatch(what, f"logits within {limit:g} of the graph's for the smooth test image",
                           f'{off:.3g} on {backend.provider}', f'export {model.bundle.path.name} again')


def _check_finite(backend: Backend, card: Card, what: str) -> None:
    size = card.input.size
    flat = [DecodedImage(np.full((*size, 3), value, np.uint8), 'rgb') for value in (0, 255)]
    for image in (golden_image(size), *flat):
        outputs = backend.run(preprocess(image, card.input))
        for role, values in (('logits', outputs.logits), ('embedding', outputs.embedding)):
            if values is not None and not np.isfinite(values).all():
                raise mismatch(what, f'finite {role}', 'NaN or infinity for a test image',
                               'check the card (input.scale, mean, std), or export the model again')


def golden_error(backend: Backend, card: Card, golden: Golden) -> float:
    """The largest difference from the golden logits, relative to the largest of them."""
    expected = np.asarray(golden.logits, np.float64)
    logits = _golden_logits(backend, card, len(expected))
    if logits.shape != expected.shape:
        return float('inf')
    return float(np.abs(logits - expected).max() / max(np.abs(expected).max(), 1e-12))


def golden_of(backend: Backend, card: Card, tolerance: float) -> Golden:
    """The golden logits that the backend gives now, for a card."""
    return Golden(tuple(map(float, _golden_logits(backend, card, GOLDEN_LOGITS))), tolerance)


def _golden_logits(backend: Backend, card: Card, count: int) -> F32:
    return backend.run(preprocess(golden_image(card.input.size), card.input)).logits[:count]


def distance(backend: Backend, bundle: Bundle) -> float:
    """How far a variant's logits for the smooth test image are from the graph's; see DISTANCES."""
    # Imported here: a robot that runs only the variant keeps onnxruntime out of memory.
    from shufflenet_ros.backends.ort import OnnxRuntimeBackend
    tensor = preprocess(smooth_test_image(bundle.card.input.size), bundle.card.input)
    expected = OnnxRuntimeBackend(resolve(bundle)).run(tensor).logits.astype(np.float64)
    difference = np.linalg.norm(backend.run(tensor).logits - expected)
    return float(difference / max(float(np.linalg.norm(expected)), 1e-12))
