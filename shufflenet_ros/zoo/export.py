# SPDX-License-Identifier: Apache-2.0
"""Turn a trained network into a bundle: a card, and an ONNX file whose input is a camera's bytes."""

import copy
import io
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from shufflenet_ros.backends.ort import OnnxRuntimeBackend
from shufflenet_ros.bundles.bundle import open_bundle
from shufflenet_ros.bundles.golden import GOLDEN_LOGITS, golden_image
from shufflenet_ros.bundles.onnx_write import save_bundle
from shufflenet_ros.bundles.variants import resolve
from shufflenet_ros.core.card import Card, CardInput, Golden
from shufflenet_ros.core.preprocess import preprocess
from shufflenet_ros.zoo.backbone import Backbone
from shufflenet_ros.zoo.errors import ZooError
from shufflenet_ros.zoo.macs import count
from shufflenet_ros.zoo.normalization import IMAGENET, Normalization, normalize
from shufflenet_ros.zoo.registry import name_of, values_of

OPSET = 17  # the newest that keeps IR version 8, which the oldest supported onnxruntime still reads
PARITY = 1e-4


class Deployed(nn.Module):
    """The network as a robot runs it: (1, H, W, 3) uint8 RGB -> logits (1, C), embedding (1, D).

    1/(255 std) is folded into the first weights. The mean stays a subtraction: the stem pads with zeros, and
    in training these were average pixels.
    """

    mean: torch.Tensor

    def __init__(self, model: Backbone, normalization: Normalization):
        super().__init__()
        self.model = copy.deepcopy(model).eval()
        scale = 1 / (255 * torch.tensor(normalization.std))
        self.model.first_conv.weight.data *= scale[None, :, None, None]
        self.register_buffer('mean', (255 * torch.tensor(normalization.mean))[None, :, None, None])

    def forward(self, frame: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(1, H, W, 3) uint8 -> ((1, C), (1, D)) float32."""
        embedding = self.model.embed(frame.permute(0, 3, 1, 2).float() - self.mean)
        return self.model.fc(embedding), embedding


@dataclass(frozen=True)
class Parity:
    """Largest difference between torch and the exported file, relative to the largest value."""

    logits: float
    embedding: float


def graph_bytes(model: nn.Module, example: torch.Tensor, inputs: list[str], outputs: list[str],
                **options: Any) -> bytes:
    """A module as ONNX, traced with one example input, by PyTorch's TorchScript exporter."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # The exporter is deprecated. The tracer asks whether the shuffle's channel counts may change.
        warnings.simplefilter('ignore')
        torch.onnx.export(model, (example,), buffer, opset_version=OPSET,  # type: ignore[arg-type]
                          dynamo=False, input_names=inputs, output_names=outputs, **options)
    return buffer.getvalue()


def to_onnx(model: Backbone, size: int | tuple[int, int], normalization: Normalization = IMAGENET) -> bytes:
    """The deployed form of a network as ONNX, batch 1, input `frame`, outputs `logits`, `embedding`.

    Args:
        size: (height, width) of the frame, or the side of a square.
    """
    height, width = (size, size) if isinstance(size, int) else size
    frame = torch.zeros(1, height, width, 3, dtype=torch.uint8)
    return graph_bytes(Deployed(model, normalization), frame, ['frame'], ['logits', 'embedding'])


def _relative(got: np.ndarray, expected: torch.Tensor) -> float:
    difference, largest = np.abs(got - expected.numpy()).max(), np.abs(expected.numpy()).max()
    return float(difference / max(1e-12, float(largest)))


@torch.no_grad()
def check_parity(model: Backbone, backend: OnnxRuntimeBackend, px: int,
                 normalization: Normalization = IMAGENET, samples: int = 64) -> Parity:
    """Compare the exported file with the network in torch on seeded frames.

    Raises:
        ZooError: a difference above 1e-4 of the largest value.
    """
    rng = np.random.default_rng(0)
    model.eval()
    logits = embedding = 0.0
    for _ in range(samples):
        frame = rng.integers(0, 256, (1, px, px, 3), np.uint8)
        expected = model.embed(normalize(torch.from_numpy(frame), normalization))
        outputs = backend.run(frame)
        assert outputs.embedding is not None
        logits = max(logits, _relative(outputs.logits, model.fc(expected)[0]))
        embedding = max(embedding, _relative(outputs.embedding, expected[0]))
    if max(logits, embedding) > PARITY:
        raise ZooError(f'the exported graph differs from the network by {logits:.1e} (logits) and '
                       f'{embedding:.1e} (embedding) of the largest value: expected at most {PARITY:.0e}')
    return Parity(logits, embedding)


def make_card(model: Backbone, name: str, labels: Sequence[str], px: int, crop: float = 1.0,
              **fields: Any) -> Card:
    """The card of an exported network, without its golden sample."""
    cost = count(model, (px, px))
    return Card(
        name=name, network=name_of(model.config), labels=tuple(labels),
        input=CardInput(layout='NHWC', dtype='uint8', size=(px, px), color='rgb', crop=crop),
        outputs={'logits': 'logits', 'embedding': 'embedding'},
        embedding={'dim': model.embedding_dim, 'layer': 'global average pool before the linear layer'},
        network_config=values_of(model.config), cost={'params': cost.params, 'macs': cost.macs},
        **fields,
    )


def export(model: Backbone, card: Card, path: Path, normalization: Normalization = IMAGENET) -> Parity:
    """Write one bundle: graph and card, with a golden sample, checked against torch.

    Raises:
        ZooError: the graph differs from the network; nothing is written to path.
    """
    px = card.input.size[0]
    graph = to_onnx(model, px, normalization)
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / path.name
        save_bundle(graph, card, draft)
        backend = OnnxRuntimeBackend(resolve(open_bundle(str(draft))))
        parity = check_parity(model, backend, px, normalization)
        logits = backend.run(preprocess(golden_image(card.input.size), card.input)).logits
    golden = Golden(tuple(float(f'{v:.6g}') for v in logits[:GOLDEN_LOGITS]))
    save_bundle(graph, replace(card, golden=golden), path)
    return parity
