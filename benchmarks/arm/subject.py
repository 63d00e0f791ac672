# SPDX-License-Identifier: Apache-2.0
"""The subject of a count: a network as ONNX, its native blobs, its input frame, and a check of the logits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from shufflenet_ros.backends.ort import ort
from shufflenet_ros.bundles.bundle import open_bundle
from shufflenet_ros.bundles.variants import PRECISIONS, precisions, resolve_variant
from shufflenet_ros.core.card import CardInput
from shufflenet_ros.core.errors import ShuffleNetError
from shufflenet_ros.datasets.calibration import reference_inputs

CALIBRATION_IMAGES = 4
FRAME_SEED = 1  # not the seed of the calibration images
FP32_ERROR = 1e-5
"""Largest allowed difference of an fp32 logit from onnxruntime's, relative to the largest logit."""


class WrongResultError(ShuffleNetError):
    """The counted program computes wrong logits, so its count means nothing."""


@dataclass(frozen=True)
class InstructionCount:
    """One inference on an emulated CPU.

    Attributes:
        instructions: retired, from frame to logits.
        kernels: what ran.
        error: largest difference from onnxruntime's fp32 logits, relative to the largest logit.
        same_top: whether the best class is the same.
        layers: (description, instructions) of each operation, if requested.
    """

    instructions: int
    kernels: str
    error: float
    same_top: bool
    layers: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Subject:
    """A network to count.

    Attributes:
        name: of the network or bundle.
        graph: the ONNX file.
        output: name of the graph's logits.
        tensor: the graph's input; (1, H, W, 3) uint8 if the native kernels can run the network.
        precisions: for which there are native blobs.
        blob: precision -> native blob.
        expected: (classes,) float32, onnxruntime's logits on this machine.
    """

    name: str
    graph: bytes
    output: str
    tensor: npt.NDArray[Any]
    precisions: tuple[str, ...]
    blob: Callable[[str], bytes]
    expected: npt.NDArray[np.float32]

    def count(self, precision: str, kernels: str, instructions: int, logits: npt.NDArray[np.float32],
              layers: tuple[tuple[str, int], ...] = ()) -> InstructionCount:
        """Check the logits, (classes,) float32, and return the count.

        Raises:
            WrongResultError: they are not finite, or differ by more than FP32_ERROR in fp32.
        """
        error = float(np.abs(logits - self.expected).max() / np.abs(self.expected).max())
        if not np.isfinite(logits).all() or (precision == 'fp32' and error > FP32_ERROR):
            raise WrongResultError(
                f"{self.name} {precision} by {kernels}: its logits differ from onnxruntime's by {error:.1e} "
                f'of the largest, expected at most {FP32_ERROR:.0e}: the count means nothing')
        same_top = bool(logits.argmax() == self.expected.argmax())
        return InstructionCount(instructions, kernels, error, same_top, layers)


def reference(name: str) -> Subject:
    """Return a seeded network of the zoo at 224 px for 1000 classes, or AlexNet. Needs torch and onnx.

    Raises:
        ZooError: no such network.
        ImportError: no torch or onnx.
    """
    from benchmarks.arm.reference import ALEXNETS, reference_onnx, side

    graph = reference_onnx(name)
    spec = CardInput(layout='NHWC', dtype='uint8', size=(side(name),) * 2, color='rgb')
    return _subject(name, graph, 'logits', spec, () if name in ALEXNETS else PRECISIONS,
                    lambda precision: pack(graph, spec, precision))


def bundle(name_or_path: str) -> Subject:
    """Return a bundle with the native variants in its card. Needs neither torch nor onnx.

    Raises:
        ModelError: the bundle cannot be read.
    """
    opened = open_bundle(name_or_path)
    return _subject(opened.card.name, opened.data, opened.card.outputs['logits'], opened.card.input,
                    tuple(precisions(opened.card, 'native')),
                    lambda precision: resolve_variant(opened, 'native', precision).data)


def _subject(name: str, graph: bytes, output: str, spec: CardInput, available: tuple[str, ...],
             blob: Callable[[str], bytes]) -> Subject:
    tensor = reference_inputs(spec, 1, FRAME_SEED).inputs
    session = ort.InferenceSession(graph, providers=['CPUExecutionProvider'])
    expected = session.run([output], {session.get_inputs()[0].name: tensor})[0][0]
    return Subject(name, graph, output, tensor, available, cache(blob), expected)


def pack(graph: bytes, spec: CardInput, precision: str) -> bytes:
    """Return the blob that `export` would make of the graph, calibrated with seeded images."""
    from shufflenet_ros.packer.blob import write_blob
    from shufflenet_ros.packer.graph import read_network
    from shufflenet_ros.packer.pack import CONVERSIONS

    network = read_network(graph, spec, {'logits': 'logits', 'embedding': 'embedding'})
    if precision in CONVERSIONS:
        network = CONVERSIONS[precision](network, reference_inputs(spec, CALIBRATION_IMAGES).inputs)
    return write_blob(network)
