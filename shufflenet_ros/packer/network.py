"""A ShuffleNet as our kernels see it: a list of operations on maps. native/src/blob.h has the same in C.

Channel shuffle, split and concatenation are no operations: they are the destinations in an operation's table.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Precision = Literal['fp32', 'fp16', 'int8']
PRECISIONS: tuple[Precision, ...] = ('fp32', 'fp16', 'int8')
Kind = Literal['stem', 'pointwise', 'depthwise', 'copy', 'head']
Array = npt.NDArray[Any]

STEM_OFFSET = 128
"""What is taken from every byte of the frame before the first convolution."""


@dataclass(frozen=True)
class Map:
    """A stack of planes that operations read and write."""

    channels: int
    height: int
    width: int


@dataclass(frozen=True)
class Op:
    """One operation; native/src/blob.h says what each kind computes.

    Attributes:
        source: index of the map that it reads, None for the frame.
        target: index of the map that it writes, None for the outputs.
        first, count: the channels of the source that it reads (head: all).
        table: (out,) uint32, the target's channel of each output (head, stem: empty).
        weights: stem (out, 3, 3, 3) as [out][row][column][channel of the frame]; pointwise (out, count /
            groups); depthwise (count, 3, 3); head (classes, channels). float32, or int8 in an int8 network.
        bias: (out,) float32; int8: int32, and float32 for the head.
        relu: whether max(0, y) follows; int8: the saturation at -128 does it.
        residual: pointwise: what the target held is added before the ReLU.
        pool: stem: no max-pool of 3x3 and stride 2 after it, one whose windows begin at 2 y - 1, or at 2 y.
        pad: stem: values outside the frame, after STEM_OFFSET was taken.
        multiplier: int8: (out,) int16, head float32.
        residual_multiplier: int8: of what the target held, in 1/32768.
        scale: int8 head: a plane's sum of (step + 128) times this is the pooled value's step + 128.
        unsigned: int8 depthwise: the source's step -128 means 0.
    """

    kind: Kind
    source: int | None
    target: int | None
    count: int
    weights: Array
    bias: Array
    table: Array
    first: int = 0
    groups: int = 1
    stride: int = 1
    relu: bool = False
    residual: bool = False
    pool: Literal['', 'both', 'end'] = ''
    pad: tuple[float, float, float] = (0.0, 0.0, 0.0)
    multiplier: Array | None = None
    residual_multiplier: int = 0
    scale: float = 0.0
    unsigned: bool = False

    @property
    def outputs(self) -> int:
        """How many channels (head: classes) it gives."""
        return self.count if self.kind in ('depthwise', 'copy') else len(self.weights)


@dataclass(frozen=True)
class Network:
    """Operations in order, and the maps between them.

    Attributes:
        size: (height, width) of the frame.
        logit_scale, embedding_scale: the outputs are these times what the operations give. fp16: a power of
            two; int8: the embedding is a plane's mean of (step + 128) times embedding_scale.
        graph_sha256: of the serialized ONNX graph that it was taken from.
    """

    precision: Precision
    size: tuple[int, int]
    maps: tuple[Map, ...]
    ops: tuple[Op, ...]
    graph_sha256: str
    logit_scale: float = 1.0
    embedding_scale: float = 1.0

    @property
    def classes(self) -> int:
        """Length of the logits."""
        return len(self.ops[-1].weights)

    @property
    def embedding(self) -> int:
        """Length of the embedding."""
        return int(self.ops[-1].weights.shape[1])


NO_TABLE = np.zeros(0, np.uint32)
