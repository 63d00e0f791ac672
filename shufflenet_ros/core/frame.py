# SPDX-License-Identifier: Apache-2.0
"""The values that pass through the frame pipeline."""

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

Color = Literal['rgb', 'bgr']
U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class DecodedImage:
    """Decoded pixels.

    Attributes:
        pixels: (H, W, 3) uint8; a view of the message's data if no conversion is needed.
        color: order of the last axis.
        damage: the decoder's warning, '' if none. Some pixels of a damaged image are wrong; often the lower
            part is gray.
    """

    pixels: U8
    color: Color
    damage: str = ''


@dataclass(frozen=True)
class Prediction:
    """One predicted class: its name, its index in the network's output, its probability."""

    name: str
    index: int
    score: float


@dataclass(frozen=True)
class StageTimes:
    """Seconds spent in each stage of one frame's processing."""

    decode: float
    preprocess: float
    inference: float
    postprocess: float


@dataclass(frozen=True)
class Result:
    """The outcome of one frame.

    Attributes:
        image: the decoded frame.
        predictions: best first, ties by index.
        embedding: (D,) float32; None if not requested or if the model has none.
    """

    image: DecodedImage
    predictions: tuple[Prediction, ...]
    embedding: F32 | None
    times: StageTimes


@dataclass(frozen=True)
class Options:
    """Settings for results, from node parameters or the command line."""

    top_k: int = 5
    min_score: float = 0.0
    embedding: bool = True
    l2_normalize: bool = True


@dataclass(frozen=True)
class Outputs:
    """A backend's outputs for one tensor: logits (C,) float32, embedding (D,) float32 or None."""

    logits: F32
    embedding: F32 | None


class Backend(Protocol):
    """Runs one model, in one thread at a time. `run` must not keep a reference to its input."""

    @property
    def name(self) -> str:
        """The runtime, such as onnxruntime."""

    @property
    def provider(self) -> str:
        """The provider or kernels that actually run, such as CPUExecutionProvider."""

    def run(self, tensor: npt.NDArray[Any]) -> Outputs:
        """Run the card's input tensor, batch 1."""


@dataclass
class Frame:
    """A message in the engine.

    Attributes:
        camera: the camera's name, '' for a single one.
        message: any object with the fields of sensor_msgs/Image or CompressedImage.
        arrived, taken: when it arrived, and when the worker took it, in seconds of a steady clock.
    """

    camera: str
    message: Any
    arrived: float
    taken: float = 0.0
