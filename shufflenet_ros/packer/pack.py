# SPDX-License-Identifier: Apache-2.0
"""Pack a bundle: write native variants next to it and list them in its card. The graph does not change."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy.typing as npt

from shufflenet_ros.backends.verify import distance, golden_of, verify
from shufflenet_ros.bundles.bundle import Bundle
from shufflenet_ros.bundles.errors import ModelError
from shufflenet_ros.bundles.files import sha256_of
from shufflenet_ros.bundles.index import NAME, update_entry
from shufflenet_ros.bundles.onnx_write import with_metadata
from shufflenet_ros.bundles.variants import ResolvedModel
from shufflenet_ros.core.card import METADATA_KEY, Card, Variant
from shufflenet_ros.core.files import write_whole, writing
from shufflenet_ros.core.frame import Outputs
from shufflenet_ros.datasets.calibration import Calibration
from shufflenet_ros.packer.blob import write_blob
from shufflenet_ros.packer.graph import read_network
from shufflenet_ros.packer.half import to_half
from shufflenet_ros.packer.network import Array, Network, PackError, UnsupportedGraphError
from shufflenet_ros.packer.quantize import quantize
from shufflenet_ros.packer.reference import run

SUFFIX = '.native'
CONVERSIONS: Mapping[str, Callable[[Network, Array], Network]] = {'fp16': to_half, 'int8': quantize}
"""Precision -> conversion with calibration frames. fp32 needs none."""

GOLDEN_TOLERANCES: Mapping[str, float] = {'fp32': 1e-3, 'fp16': 0.05, 'int8': 1e-6}
"""How far a variant's logits on a robot may be from the logits here, in NumPy, relative to the largest.
int8 is the same to the bit on every CPU; half precision depends on how the CPU rounds."""


@dataclass(frozen=True)
class PackedVariant:
    """A packed variant.

    Attributes:
        variant: its entry in the card.
        distance: how far its logits for the smooth test image are from the graph's; see
            `backends.verify.distance`.
    """

    variant: Variant
    path: Path
    blob: bytes
    distance: float


class _NumpyBackend:
    """A network as a backend, so that it can be verified as on a robot."""

    name, provider = 'native', 'NumPy'

    def __init__(self, network: Network):
        self._network = network

    def run(self, tensor: npt.NDArray[Any]) -> Outputs:
        """(1, H, W, 3) uint8 -> logits and embedding."""
        return Outputs(*run(self._network, tensor[0]))


def pack(bundle: Bundle, precisions: Sequence[str], calibration: Calibration | None = None,
         folder: Path | None = None) -> list[PackedVariant]:
    """Write native variants and list them in the card. They replace those of the same precision.

    All of them are verified, in NumPy, before anything is written.

    Args:
        precisions: fp32, fp16 or int8, each once.
        calibration: frames for fp16 and int8.
        folder: where to write the variants and the bundle; None for the bundle's folder.

    Raises:
        UnsupportedGraphError: the native kernels cannot compute the graph; names the node.
        PackError: no calibration frames for a precision that needs them; logits too far from the graph's
            after calibration; a card that is not in the file, or a file name that cards do not allow.
        ModelError: the logits of fp32 are too far from the graph's.
    """
    _check(bundle, precisions, calibration)
    try:
        network = read_network(bundle.data, bundle.card.input, bundle.card.outputs)
    except UnsupportedGraphError as error:
        raise UnsupportedGraphError(f'{bundle.path}: {error}; onnxruntime runs this bundle') from error
    folder = folder or bundle.path.parent
    packed = [_pack_one(bundle, network, precision, calibration, folder)
              for precision in dict.fromkeys(precisions)]
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for one in packed:
        write_whole(one.path, one.blob)
    replaced = {('native', '', one.variant.precision) for one in packed}
    others = [v for v in bundle.card.variants if (v.backend, v.target, v.precision) not in replaced]
    card = replace(bundle.card, variants=(*others, *(one.variant for one in packed)))
    write_with_card(bundle, card, folder / bundle.path.name)
    return packed


def write_with_card(bundle: Bundle, card: Card, path: Path) -> None:
    """Write the bundle with another card, and renew its entry in the folder's index."""
    write_whole(path, with_metadata(bundle.data, METADATA_KEY, card.to_json()))
    update_entry(path, card.name)


def _check(bundle: Bundle, precisions: Sequence[str], calibration: Calibration | None) -> None:
    if bundle.card_from != 'in the file':
        raise PackError(f'{bundle.path}: its card is {bundle.card_from}: expected it in the file, where the '
                        'variants are listed; write it there: shufflenet-ros models add-card')
    if not NAME.fullmatch(f'{bundle.path.stem}-fp32{SUFFIX}'):
        raise PackError(f'{bundle.path}: expected a name of at most 180 letters, digits, dots, dashes and '
                        'underscores, which are all that a card allows; rename it')
    if calibration is None and (needing := [p for p in precisions if p in CONVERSIONS]):
        raise PackError(f'{" and ".join(needing)} of {bundle.path.name}: expected calibration images; give '
                        'training images (--calibrate), or --reference for synthetic ones')


def _pack_one(bundle: Bundle, network: Network, precision: str, calibration: Calibration | None, folder: Path
              ) -> PackedVariant:
    source = ''
    if calibration is not None and precision in CONVERSIONS:
        network = CONVERSIONS[precision](network, calibration.inputs)
        source = calibration.summary
    path, blob = folder / f'{bundle.path.stem}-{precision}{SUFFIX}', write_blob(network)
    variant = Variant(path.name, sha256_of(blob), precision, backend='native',
                      graph_sha256=network.graph_sha256, calibration=source)
    backend = _NumpyBackend(network)
    try:
        verify(backend, ResolvedModel(bundle, variant, path, blob, variant.sha256, trusted=True))
    except ModelError as error:
        if not source:
            raise
        raise PackError(f'{error}, with more calibration images, or with images like those of the camera; '
                        f'these were {source}') from error
    variant = replace(variant, golden=golden_of(backend, bundle.card, GOLDEN_TOLERANCES[precision]))
    return PackedVariant(variant, path, blob, distance(backend, bundle))
