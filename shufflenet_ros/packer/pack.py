"""Native variants of a bundle: blobs beside it, and its card rewritten without touching the graph's bytes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy.typing as npt

from shufflenet_ros.backends.verify import distance, golden_of, verify
from shufflenet_ros.bundles.bundle import Bundle
from shufflenet_ros.bundles.errors import ModelError
from shufflenet_ros.bundles.files import sha256_of
from shufflenet_ros.bundles.index import NAME, renew_entry
from shufflenet_ros.bundles.onnx_metadata import with_metadata
from shufflenet_ros.bundles.variants import Runnable
from shufflenet_ros.core.card import METADATA_KEY, Variant
from shufflenet_ros.core.files import write_whole, writing
from shufflenet_ros.core.frame import Outputs
from shufflenet_ros.datasets.calibration import Calibration
from shufflenet_ros.packer.blob import write_blob
from shufflenet_ros.packer.errors import PackError, UnsupportedGraphError
from shufflenet_ros.packer.graph import read_network
from shufflenet_ros.packer.half import to_half
from shufflenet_ros.packer.network import Array, Network
from shufflenet_ros.packer.quantize import quantize
from shufflenet_ros.packer.reference import run

SUFFIX = '.native'
CONVERSIONS: Mapping[str, Callable[[Network, Array], Network]] = {'fp16': to_half, 'int8': quantize}
"""What needs frames to know its ranges; fp32 needs none."""

GOLDEN_TOLERANCES: Mapping[str, float] = {'fp32': 1e-3, 'fp16': 0.05, 'int8': 1e-6}
"""How far a variant's answer on a robot may be from the one that NumPy gives here, relative to its largest
logit: int8 is the same to the bit on every CPU, half precision rounds as the CPU does."""


@dataclass(frozen=True)
class Packed:
    """A variant that was written.

    Attributes:
        size: bytes of the file.
        distance: of its logits for the soft image from the graph's; see `backends.verify.distance`.
    """

    variant: Variant
    path: Path
    size: int
    distance: float


class _InNumpy:
    """A network as a backend, to verify it as it will be verified on a robot."""

    name, provider = 'native', 'NumPy'

    def __init__(self, network: Network):
        self._network = network

    def run(self, tensor: npt.NDArray[Any]) -> Outputs:
        """(1, H, W, 3) uint8 -> logits and embedding."""
        return Outputs(*run(self._network, tensor[0]))


def pack(bundle: Bundle, precisions: Sequence[str], calibration: Calibration | None = None,
         folder: Path | None = None) -> list[Packed]:
    """Write native variants and list them in the card, in place of those of the same precision.

    Every one is computed in NumPy and verified before anything is written.

    Args:
        precisions: fp32, fp16 or int8, each once.
        calibration: frames for fp16 and int8.
        folder: where variants and bundle go; None for where the bundle is.

    Raises:
        UnsupportedGraphError: our kernels cannot compute the graph; names the node.
        PackError: no frames for a precision that needs them, or frames after which its answers are too far
            from the graph's; a card that is not in the file, or a name that cards do not take.
        ModelError: the answers of fp32 are too far from the graph's.
    """
    _check(bundle, precisions, calibration)
    try:
        network = read_network(bundle.data, bundle.card.input, bundle.card.outputs)
    except UnsupportedGraphError as error:
        raise UnsupportedGraphError(f'{bundle.path}: {error}; it runs on onnxruntime as it is') from error
    folder = folder or bundle.path.parent
    # What earlier variants answered says nothing of the new ones.
    graph_alone = replace(bundle, card=replace(bundle.card, variants=()))
    blobs: dict[Path, bytes] = {}
    made = []
    for precision in dict.fromkeys(precisions):
        path = folder / f'{bundle.path.stem}-{precision}{SUFFIX}'
        packed, blobs[path] = _make(graph_alone, network, precision, calibration, path)
        made.append(packed)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for path, blob in blobs.items():
        write_whole(path, blob)
    _rewrite(bundle, made, folder / bundle.path.name)
    return made


def _check(bundle: Bundle, precisions: Sequence[str], calibration: Calibration | None) -> None:
    if bundle.card_from != 'in the file':
        raise PackError(f'{bundle.path}: its card is {bundle.card_from}: expected it in the file, as the '
                       'variants are written into it; put it there: shufflenet-ros models add-card')
    if not NAME.fullmatch(f'{bundle.path.stem}-fp32{SUFFIX}'):
        raise PackError(f'{bundle.path}: expected a name of at most 180 letters, digits, dots, dashes and '
                       'underscores, as cards name files; rename it')
    if calibration is None and (needing := [p for p in precisions if p in CONVERSIONS]):
        raise PackError(f'{" and ".join(needing)} of {bundle.path.name}: expected images to take ranges '
                       'from; give training images (--calibrate), or --reference for synthetic ones')


def _make(bundle: Bundle, network: Network, precision: str, calibration: Calibration | None, path: Path
          ) -> tuple[Packed, bytes]:
    source = ''
    if calibration is not None and precision in CONVERSIONS:
        network = CONVERSIONS[precision](network, calibration.inputs)
        source = calibration.summary
    backend = _InNumpy(network)
    blob = write_blob(network)
    variant = Variant(path.name, sha256_of(blob), precision, backend='native',
                      graph_sha256=network.graph_sha256, calibration=source)
    try:
        verify(backend, Runnable(bundle, variant, path, blob, variant.sha256, trusted=True))
    except ModelError as error:
        if source:
            raise PackError(f'{error}, with more images to take ranges from, or with such as the camera '
                           f'sees; these were {source}') from error
        raise
    variant = replace(variant, golden=golden_of(backend, bundle.card, GOLDEN_TOLERANCES[precision]))
    return Packed(variant, path, len(blob), distance(backend, bundle)), blob


def _rewrite(bundle: Bundle, made: Sequence[Packed], path: Path) -> None:
    """The bundle with its new card, and its folder's index."""
    new = {('native', '', packed.variant.precision) for packed in made}
    kept = [v for v in bundle.card.variants if (v.backend, v.target, v.precision) not in new]
    card = replace(bundle.card, variants=(*kept, *(packed.variant for packed in made)))
    text = card.to_json()
    write_whole(path, with_metadata(bundle.data, METADATA_KEY, text))
    renew_entry(path, card.name)
