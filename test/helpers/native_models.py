# SPDX-License-Identifier: Apache-2.0
"""A small real network, as an ONNX graph and as a native blob.

It has every kind of operation but COPY: stem, pointwise, depthwise, head.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_models
from onnx import TensorProto, helper

from shufflenet_ros.bundles.files import sha256_of
from shufflenet_ros.datasets.calibration import seeded_images
from shufflenet_ros.packer.blob import write_blob
from shufflenet_ros.packer.network import NO_TABLE, Map, Network, Op, Precision
from shufflenet_ros.packer.quantize import quantize

LABELS = [f'thing {i}' for i in range(10)]
SIZE, STEM, WIDE = (64, 96), 16, 24


@dataclass(frozen=True)
class Weights:
    """The weights of one network: convolutions in ONNX layout, and their biases."""

    stem: np.ndarray
    each: np.ndarray
    wide: np.ndarray
    head: np.ndarray
    biases: tuple[np.ndarray, ...]


def weights(seed: int = 3) -> Weights:
    rng = np.random.default_rng(seed)

    def made(*shape: int, scale: float) -> np.ndarray:
        return rng.normal(0.0, scale, shape).astype(np.float32)
    return Weights(made(STEM, 3, 3, 3, scale=0.005), made(STEM, 1, 3, 3, scale=0.4),
                   made(WIDE, STEM, 1, 1, scale=0.25), made(len(LABELS), WIDE, scale=0.5),
                   tuple(made(n, scale=0.2) for n in (STEM, STEM, WIDE, len(LABELS))))


def graph_model(size: tuple[int, int], w: Weights) -> onnx.ModelProto:
    """uint8 (1, H, W, 3) to logits (1, 10) and embedding (1, 24)."""
    def conv(source: str, kernel: str, bias: str, target: str, **attributes: Any) -> onnx.NodeProto:
        return helper.make_node('Conv', [source, kernel, bias], [target], **attributes)
    nodes = [
        helper.make_node('Cast', ['image'], ['float'], to=TensorProto.FLOAT),
        helper.make_node('Sub', ['float', 'middle'], ['centered']),
        helper.make_node('Transpose', ['centered'], ['planes'], perm=[0, 3, 1, 2]),
        conv('planes', 'stem', 'b0', 's', strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node('Relu', ['s'], ['sr']),
        conv('sr', 'each', 'b1', 'e', strides=[1, 1], pads=[1, 1, 1, 1], group=STEM),
        conv('e', 'wide', 'b2', 'w'), helper.make_node('Relu', ['w'], ['wr']),
        helper.make_node('GlobalAveragePool', ['wr'], ['pooled']),
        helper.make_node('Flatten', ['pooled'], ['embedding']),
        helper.make_node('Gemm', ['embedding', 'head', 'b3'], ['logits'], transB=1),
    ]
    constants = {'middle': np.float32(128), 'stem': w.stem, 'wide': w.wide, 'each': w.each, 'head': w.head}
    constants |= {f'b{i}': bias for i, bias in enumerate(w.biases)}
    return onnx_models.model(
        nodes, [onnx_models.value('image', TensorProto.UINT8, [1, *size, 3])],
        [onnx_models.value('logits', TensorProto.FLOAT, [1, len(LABELS)]),
         onnx_models.value('embedding', TensorProto.FLOAT, [1, WIDE])],
        {name: np.asarray(constant) for name, constant in constants.items()})


def network(size: tuple[int, int], w: Weights, graph_sha256: str, precision: Precision = 'fp32') -> Network:
    """The same network for the native kernels; int8 ranges come from a few smooth images."""
    if precision == 'int8':
        frames = np.stack([image.pixels for image in seeded_images(size, 8)])
        return quantize(network(size, w, graph_sha256), frames)
    half = (size[0] // 2, size[1] // 2)
    maps = tuple(Map(channels, *half) for channels in (STEM, STEM, WIDE))
    table = np.arange(WIDE, dtype=np.uint32)
    ops = (
        Op('stem', None, 0, 3, w.stem.transpose(0, 2, 3, 1), w.biases[0], NO_TABLE, stride=2, relu=True),
        Op('depthwise', 0, 1, STEM, w.each[:, 0], w.biases[1], table[:STEM]),
        Op('pointwise', 1, 2, STEM, w.wide[:, :, 0, 0], w.biases[2], table, relu=True),
        Op('head', 2, None, WIDE, w.head, w.biases[3], NO_TABLE),
    )
    return Network(precision, size, maps, ops, graph_sha256)


def entry(file: str, data: bytes, precision: str, graph_sha256: str, backend: str = 'native'
          ) -> dict[str, Any]:
    """The entry of a variant in a card."""
    return {'file': file, 'sha256': sha256_of(data), 'precision': precision, 'backend': backend,
            'graph_sha256': graph_sha256}


def native_bundle(path: Path, *, size: tuple[int, int] = SIZE, precisions: tuple[Precision, ...] = ('fp32',),
                  blob_of: Weights | None = None, entry_changes: dict[str, Any] | None = None,
                  inside: bool = False, **changes: Any) -> Path:
    """Write a bundle, its blobs, and its card: next to the bundle or inside. Returns the bundle's path.

    blob_of: other weights, for the blobs only. entry_changes: in the card's entries of the blobs.
    """
    w = weights()
    proto = graph_model(size, w)
    digest = sha256_of(proto.graph.SerializeToString())
    variants = []
    for precision in precisions:
        data = write_blob(network(size, blob_of or w, digest, precision))
        file = f'{path.stem}-{precision}.native'
        path.with_name(file).write_bytes(data)
        variants.append(entry(file, data, precision, digest) | (entry_changes or {}))
    card = onnx_models.card(**{
        'labels': LABELS, 'outputs': {'logits': 'logits', 'embedding': 'embedding'},
        'input': {'layout': 'NHWC', 'dtype': 'uint8', 'size': list(size), 'color': 'rgb'},
        'embedding': {'dim': WIDE, 'layer': 'embedding'}, 'variants': variants} | changes)
    if not inside:
        path.with_name(f'{path.name}.card.json').write_text(json.dumps(card))
    return onnx_models.write(path, proto, card if inside else None)
