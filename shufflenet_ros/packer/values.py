"""What a name of the graph stands for while it is walked."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from shufflenet_ros.packer.layers import Floats, Ids


@dataclass(frozen=True)
class Pixels:
    """The frame: each channel is pixel * scale + shift.

    Attributes:
        axes: of what the graph has made of it, batch 1.
        cast: it is float.
        scale, shift: (3,) float64.
        size: (height, width).
    """

    axes: Literal['NHWC', 'NCHW']
    cast: bool
    scale: Floats
    shift: Floats
    size: tuple[int, int]


@dataclass(frozen=True)
class Planes:
    """Planes of numbers.

    Attributes:
        ids: their channels as an array of the tensor's leading axes.
        size: (height, width) of a plane.
        flat: the tensor has one last axis for the two of a plane.
    """

    ids: Ids
    size: tuple[int, int]
    flat: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the tensor."""
        return (*self.ids.shape, *((int(np.prod(self.size)),) if self.flat else self.size))

    @property
    def plain(self) -> bool:
        """Whether it is (1, C, H, W)."""
        return not self.flat and self.ids.ndim == 2 and len(self.ids) == 1

    @property
    def channels(self) -> Ids:
        """(C,) all ids, in the tensor's order."""
        return self.ids.reshape(-1)


@dataclass(frozen=True)
class Pooled:
    """The means of planes, (1, C) or with more axes of 1."""

    ids: Ids


@dataclass(frozen=True)
class Logits:
    """What the linear layer gives, (1, classes)."""

    ids: Ids


Value: TypeAlias = Pixels | Planes | Pooled | Logits
