"""Verify that a backend does what its card says: the golden sample, and finite answers to any image."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from shufflenet_ros.bundles.bundle import Bundle
from shufflenet_ros.bundles.errors import ModelError, mismatch
from shufflenet_ros.bundles.golden import GOLDEN_LOGITS, golden_image
from shufflenet_ros.bundles.variants import find_variant
from shufflenet_ros.core.card import Card, Golden
from shufflenet_ros.core.frame import Backend, DecodedImage
from shufflenet_ros.core.preprocess import preprocess

DISTANCES: Mapping[str, float] = {'fp32': 1e-3, 'fp16': 0.05, 'int8': 0.3}
"""How far a variant's logits for the soft image may be from those of the bundle's own graph: the length of
the difference, relative to the length of the graph's. Another image's logits are 0.8 and more away, and so
is a network with a broken stem or head; with one broken operation of a late unit it can be as near as 0.15.
It is no measure of accuracy, which only images with labels give (`shufflenet-ros evaluate`)."""


def smooth_test_image(size: tuple[int, int]) -> DecodedImage:
    """(H, W, 3) uint8 RGB, one slow wave: 128 + 100 sin(3 y / H + 5 x / W + c).

    The golden image is noise, unlike anything that int8 is calibrated on: its values leave their ranges,
    and good int8 variants of our models are up to 1.4 away there, but at most 0.11 here.
    """
    y, x, c = np.ogrid[:size[0], :size[1], :3]
    return DecodedImage((128 + 100 * np.sin(3 * y / size[0] + 5 * x / size[1] + c)).astype(np.uint8), 'rgb')


def verify(backend: Backend, card: Card, what: str) -> None:
    """Run the golden image, a black and a white one; this warms the backend up as well.

    Args:
        what: the model's name or path, for the errors.

    Raises:
        ModelError: no answer, one that is not finite, or not the golden one.
    """
    try:
        _verify(backend, card, what)
    except ModelError:
        raise
    except Exception as error:
        cause = f'{type(error).__name__}: {" ".join(str(error).split())[:300]}'
        raise mismatch(what, 'an answer to a probe image', cause,
                       'check the card, or export the model again') from error


def _verify(backend: Backend, card: Card, what: str) -> None:
    size = card.input.size
    flat = [DecodedImage(np.full((*size, 3), value, np.uint8), 'rgb') for value in (0, 255)]
    for image in (golden_image(size), *flat):
        outputs = backend.run(preprocess(image, card.input))
        for role, values in (('logits', outputs.logits), ('embedding', outputs.embedding)):
            if values is not None and not np.isfinite(values).all():
                raise mismatch(what, f'finite {role}', 'NaN or infinity for a probe image',
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
    logits = backend.run(preprocess(golden_image(card.input.size), card.input)).logits[:len(expected)]
    if logits.shape != expected.shape:
        return float('inf')
    return float(np.abs(logits - expected).max() / max(np.abs(expected).max(), 1e-12))


def verify_variant(backend: Backend, bundle: Bundle, precision: str, what: str) -> None:
    """Verify a backend that runs a variant of the bundle's graph.

    A variant whose card entry has golden logits of its own must give these, in int8 to the bit. Without them,
    fp32 must give the graph's, and a lower precision, or a card without a golden sample, is held to DISTANCES
    from the graph in onnxruntime.

    Raises:
        ModelError: as `verify`; or the answers are too far from those of the graph in onnxruntime.
    """
    variant = find_variant(bundle.card, backend.name, precision)
    golden = variant.golden if variant else None
    if golden is None and precision == 'fp32':
        golden = bundle.card.golden
    verify(backend, replace(bundle.card, golden=golden), what)
    if golden is None and (off := distance(backend, bundle)) > DISTANCES[precision]:
        raise mismatch(what, f"logits within {DISTANCES[precision]:g} of the graph's for a soft image",
                       f'{off:.3g} on {backend.provider}', f'export {bundle.path.name} again')


def golden_of(backend: Backend, card: Card, tolerance: float) -> Golden:
    """What a variant's card entry keeps of a backend's answer to the golden image."""
    logits = backend.run(preprocess(golden_image(card.input.size), card.input)).logits
    return Golden(tuple(float(value) for value in logits[:GOLDEN_LOGITS]), tolerance)


def distance(backend: Backend, bundle: Bundle) -> float:
    """Of a variant's logits for the soft image from the graph's in onnxruntime; see DISTANCES."""
    # Only here, because a robot that runs the variant alone needs no onnxruntime in memory.
    from shufflenet_ros.backends.ort import OnnxRuntimeBackend
    tensor = preprocess(smooth_test_image(bundle.card.input.size), bundle.card.input)
    expected = OnnxRuntimeBackend(bundle).run(tensor).logits.astype(np.float64)
    difference = np.linalg.norm(backend.run(tensor).logits - expected)
    return float(difference / max(float(np.linalg.norm(expected)), 1e-12))
