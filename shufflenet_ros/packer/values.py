# SPDX-License-Identifier: Apache-2.0
"""What a tensor of the graph holds while the graph is walked."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from shufflenet_ros.packer.layers import Floats, Ids


@dataclass(frozen=True)
class Pixels:
    """The frame; each channel is pixel * scale + shift.

    Attributes:
        axes: the tensor's layout, with a batch of 1.
        is_float: it was cast to float.
        scale, shift: (3,) float64.
        size: (height, width).
    """

    axes: Literal['NHWC', 'NCHW']
    is_float: bool
    scale: Floats
    shift: Floats
    size: tuple[int, int]


@dataclass(frozen=True)
class Planes:
    """Planes of activations.

    Attributes:
        ids: ids of their channels, shaped as the tensor's leading axes.
        size: (height, width) of a plane.
        flat: one last axis for all pixels of a plane instead of two.
    """

    ids: Ids
    size: tuple[int, int]
    flat: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """The tensor's shape."""
        return (*self.ids.shape, *((int(np.prod(self.size)),) if self.flat else self.size))

    @property
    def plain(self) -> bool:
        """Whether the shape is (1, C, H, W)."""
        return not self.flat and self.ids.ndim == 2 and len(self.ids) == 1

    @property
    def channels(self) -> Ids:
        """(C,) all ids in the tensor's order."""
        return self.ids.reshape(-1)


@dataclass(frozen=True)
class Pooled:
    """The means of planes, (1, C), perhaps with more axes of 1."""

    ids: Ids


@dataclass(frozen=True)
class Logits:
    """The output of the linear layer, (1, classes)."""

    ids: Ids


Value: TypeAlias = Pixels | Planes | Pooled | Logits
