# SPDX-License-Identifier: Apache-2.0
"""A ShuffleNet as the native kernels run it: operations on maps. native/src/blob.h has the same in C.

Channel shuffle, split and concatenation are not operations: an operation's table says where its outputs go.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from shufflenet_ros.core.errors import ShuffleNetError

Precision = Literal['fp32', 'fp16', 'int8']
Kind = Literal['stem', 'pointwise', 'depthwise', 'copy', 'head']
Array = npt.NDArray[Any]

STEM_OFFSET = 128
"""Subtracted from every byte of the frame before the first convolution."""
NO_TABLE = np.zeros(0, np.uint32)


class PackError(ShuffleNetError):
    """A bundle that cannot be packed; the message says what was expected."""


class UnsupportedGraphError(PackError):
    """A graph that the native kernels cannot compute exactly; ONNX Runtime has to run it."""


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
        source: index of the map to read, None for the frame.
        target: index of the map to write, None for the outputs.
        first, count: the channels of the source to read (head: all).
        table: (out,) uint32, the target's channel of each output (head, stem: empty).
        weights: stem (out, 3, 3, 3) as [out][row][column][color]; pointwise (out, count / groups);
            depthwise (count, 3, 3); head (classes, channels). float32, or int8 in an int8 network.
        bias: (out,) float32; int8: int32, but float32 for the head.
        relu: max(0, y) follows; int8: never set, the saturation at -128 does it.
        residual: pointwise: the target's previous values are added before the ReLU.
        pool: stem: the max-pool of 3x3 and stride 2 after it: none, or windows that begin at 2 y - 1
            ('both') or at 2 y ('end').
        pad: stem: values outside the frame, after STEM_OFFSET was subtracted; int8: integers.
        multiplier: int8: (out,) int16, head float32.
        residual_multiplier: int8: of the target's previous values, in 1/32768.
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
    pad: tuple[float, ...] = (0.0, 0.0, 0.0)
    multiplier: Array | None = None
    residual_multiplier: int = 0
    scale: float = 0.0
    unsigned: bool = False

    @property
    def outputs(self) -> int:
        """How many channels (head: classes) the operation writes."""
        return self.count if self.kind in ('depthwise', 'copy') else len(self.weights)

    @property
    def target_channels(self) -> Array:
        """(outputs,) the target's channel of each output."""
        return self.table if self.table.size else np.arange(self.outputs)


@dataclass(frozen=True)
class Network:
    """Operations in order, and the maps between them.

    Attributes:
        size: (height, width) of the frame.
        logit_scale, embedding_scale: factors from the operations' results to the outputs. fp16: a power of
            two; int8: the embedding is a plane's mean of (step + 128) times embedding_scale.
        graph_sha256: of the serialized ONNX graph.
    """

    precision: Precision
    size: tuple[int, int]
    maps: tuple[Map, ...]
    ops: tuple[Op, ...]
    graph_sha256: str
    logit_scale: float = 1.0
    embedding_scale: float = 1.0
