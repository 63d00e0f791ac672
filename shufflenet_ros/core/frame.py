"""The values that pass through the frame pipeline."""

from dataclasses import dataclass, field
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
        pixels: (H, W, 3) uint8, a view of the message's data where no conversion was needed.
        color: order of the last axis.
        damage: what the decoder warned about, in its own words; '' for a good one. Some pixels are not
            the camera's then, often the lower part gray.
    """

    pixels: U8
    color: Color
    damage: str = ''


@dataclass(frozen=True)
class Prediction:
    """One class of a result: its name, its index in the network's output, its probability."""

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
    """What the network says of one frame.

    Attributes:
        image: the pixels it is about.
        predictions: by falling score, ties by index.
        embedding: (D,) float32, or None where it was not asked for or the model has none.
        times: seconds a stage.
    """

    image: DecodedImage
    predictions: tuple[Prediction, ...]
    embedding: F32 | None
    times: StageTimes


@dataclass(frozen=True)
class Options:
    """What an operator decides about results (node parameters, command line)."""

    top_k: int = 5
    min_score: float = 0.0
    embedding: bool = True
    l2_normalize: bool = True


@dataclass(frozen=True)
class Outputs:
    """What a backend gives for one tensor: logits (C,) float32, embedding (D,) float32 or None."""

    logits: F32
    embedding: F32 | None


class Backend(Protocol):
    """Runs one model. Used by one thread at a time; `run` may not keep a reference to its input."""

    @property
    def name(self) -> str:
        """Such as onnxruntime."""

    @property
    def provider(self) -> str:
        """What the backend really runs on, such as CPUExecutionProvider."""

    def run(self, tensor: npt.NDArray[Any]) -> Outputs:
        """The card's input tensor, batch 1, to outputs."""


@dataclass
class Frame:
    """A message on its way through the engine.

    Attributes:
        camera: the camera's name, '' for a single one.
        message: any object with the fields of sensor_msgs/Image or CompressedImage.
        arrived: steady-clock seconds of its arrival.
        taken: steady-clock seconds at which the worker took it.
    """

    camera: str
    message: Any
    arrived: float
    taken: float = field(default=0.0)
