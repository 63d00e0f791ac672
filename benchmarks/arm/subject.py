"""What is counted: a network as ONNX, its blobs for our kernels, and the frame that it is run on."""

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
from shufflenet_ros.datasets.calibration import reference_inputs

CALIBRATION_IMAGES = 4
FRAME_SEED = 1  # other images than those of the calibration


@dataclass(frozen=True)
class Subject:
    """A network to count.

    Attributes:
        name: of the network or bundle.
        graph: the ONNX file.
        output: name of the graph's output with the logits.
        tensor: what the graph is fed; (1, H, W, 3) uint8 where our kernels can take it.
        precisions: that there are blobs of.
        blob: a precision's blob.
        answer: (classes,) float32, the logits of onnxruntime on this machine.
    """

    name: str
    graph: bytes
    output: str
    tensor: npt.NDArray[Any]
    precisions: tuple[str, ...]
    blob: Callable[[str], bytes]
    answer: npt.NDArray[np.float32]


def reference(name: str) -> Subject:
    """A seeded network of the zoo at 224 px for 1000 classes, or AlexNet. Needs torch and onnx.

    Raises:
        ZooError: no such network.
        ImportError: no torch or onnx.
    """
    from benchmarks.arm.reference import ALEXNETS, reference_onnx, side

    graph = reference_onnx(name)
    spec = CardInput(layout='NHWC', dtype='uint8', size=(side(name),) * 2, color='rgb')

    def blob(precision: str) -> bytes:
        return pack(graph, spec, precision)

    return _subject(name, graph, 'logits', spec, () if name in ALEXNETS else PRECISIONS, blob)


def bundle(name_or_path: str) -> Subject:
    """A bundle with the native variants that its card names. Needs neither torch nor onnx.

    Raises:
        ModelError: the bundle can't be read.
    """
    opened = open_bundle(name_or_path)
    return _subject(opened.card.name, opened.data, opened.card.outputs['logits'], opened.card.input,
                    tuple(precisions(opened.card, 'native')),
                    lambda precision: resolve_variant(opened, 'native', precision).data)


def _subject(name: str, graph: bytes, output: str, spec: CardInput, there: tuple[str, ...],
             blob: Callable[[str], bytes]) -> Subject:
    tensor = reference_inputs(spec, 1, FRAME_SEED).inputs
    session = ort.InferenceSession(graph, providers=['CPUExecutionProvider'])
    answer = session.run([output], {session.get_inputs()[0].name: tensor})[0][0]
    return Subject(name, graph, output, tensor, there, cache(blob), answer)


def pack(graph: bytes, spec: CardInput, precision: str) -> bytes:
    """The blob that `export` would make of the graph, its ranges taken from seeded images."""
    from shufflenet_ros.packer.blob import write_blob
    from shufflenet_ros.packer.graph import read_network
    from shufflenet_ros.packer.half import to_half
    from shufflenet_ros.packer.quantize import quantize

    network = read_network(graph, spec, {'logits': 'logits', 'embedding': 'embedding'})
    convert = {'fp32': lambda network, frames: network, 'fp16': to_half, 'int8': quantize}[precision]
    return write_blob(convert(network, reference_inputs(spec, CALIBRATION_IMAGES).inputs))
