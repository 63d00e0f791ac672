# SPDX-License-Identifier: Apache-2.0
"""The values of a network on calibration frames: peaks of channels, and where to clip them for 8 bits."""

from dataclasses import dataclass

import numpy as np

from shufflenet_ros.packer.network import Array, Network, PackError
from shufflenet_ros.packer.reference import evaluate

FRAME, HEAD = -1, -2
"""Used in place of a group number."""
BINS = 2048
CLIPPING = 8.0
"""How much more a squared error counts if it comes from clipping. Rounding errors of many inputs cancel out;
clipping hits the strongest values of single frames. With 1 the error was the same on average, but outliers
were up to twice as large; from 16 on the average rises."""


@dataclass(frozen=True)
class Peaks:
    """The largest magnitude of each channel; one array for each operation.

    Attributes:
        read: (count,) of its inputs; 128 for the frame.
        written: (outputs,) of its outputs; of the logits for the head.
    """

    read: tuple[Array, ...]
    written: tuple[Array, ...]


def find_peaks(network: Network, frames: Array) -> Peaks:
    """Run a float network on frames.

    Raises:
        PackError: no frames or frames of another size, or a network whose values are not finite.
    """
    shape = (*network.size, 3)
    if frames.ndim != 4 or not len(frames) or frames.shape[1:] != shape or frames.dtype != np.uint8:
        raise PackError(f'calibration frames of shape {list(frames.shape)}, {frames.dtype}: expected '
                        f'[N, {shape[0]}, {shape[1]}, 3] uint8 with N at least 1; preprocess them as the '
                        "network's card says")
    written = [np.zeros(op.outputs) for op in network.ops]

    def visit(index: int, values: Array) -> None:
        written[index] = np.maximum(written[index], np.abs(values).max((1, 2, 3)))

    with np.errstate(over='ignore', invalid='ignore'):  # an error below, with the operation's kind
        logits, _ = evaluate(network, frames, visit)
    written[-1] = np.abs(logits).max(0)
    latest = [np.zeros(m.channels) for m in network.maps]
    read = []
    for op, peaks in zip(network.ops, written, strict=True):
        if not np.isfinite(peaks).all():
            raise PackError(f'a {op.kind} operation gives {peaks.max()} on a calibration frame: expected '
                            'finite values; train the network, or take other weights')
        read.append(np.full(op.count, 128.0) if op.source is None
                    else latest[op.source][op.first:op.first + op.count].copy())
        if op.target is not None:
            latest[op.target][op.target_channels] = peaks
    return Peaks(tuple(read), tuple(written))


@dataclass(frozen=True)
class ScaleGroups:
    """Groups of operations whose outputs share one scale; one entry for each operation.

    A quantized operation has one scale for everything it reads, and one for what its residual adds. So
    outputs that are read together, or copied next to each other, form a group. One map may have outputs of
    several groups, one after the other.

    Attributes:
        read: the group that the operation reads, FRAME for the frame.
        written: the group that it writes, HEAD for the outputs.
        residual: the group that its residual adds, FRAME without a residual.
    """

    read: tuple[int, ...]
    written: tuple[int, ...]
    residual: tuple[int, ...]


def find_scale_groups(network: Network) -> ScaleGroups:
    """Follow every channel from its writer to its readers."""
    group = np.arange(len(network.ops))  # of each operation's outputs
    writers = [np.zeros(m.channels, np.int64) for m in network.maps]
    read, written, residual = [], [], []

    def join(operations: Array) -> int:
        """Join the groups of these operations, and return one of these operations."""
        group[np.isin(group, group[operations])] = group[operations].min()
        return int(operations[0])

    for index, op in enumerate(network.ops):
        stop = op.first + op.count
        read.append(FRAME if op.source is None else join(writers[op.source][op.first:stop]))
        written.append(HEAD if op.target is None else index)
        residual.append(FRAME)
        if op.target is not None:
            if op.residual:
                residual[-1] = join(writers[op.target][op.table])
            if op.kind == 'copy':
                join(np.array([index, read[-1]]))
            writers[op.target][op.target_channels] = index

    def groups(operations: list[int]) -> tuple[int, ...]:
        return tuple(int(group[index]) if index >= 0 else index for index in operations)

    return ScaleGroups(groups(read), groups(written), groups(residual))


class Histogram:
    """Counts of magnitudes in equal bins from 0 on; the range doubles when a larger one comes.

    Zeros are not counted, because every scale represents them exactly.
    """

    def __init__(self) -> None:
        self.top = 2.0**-20
        self.counts = np.zeros(BINS, np.int64)
        self.largest = 0.0

    def add(self, values: Array) -> None:
        """Count values of any shape."""
        magnitudes = np.abs(values[values != 0])
        self.largest = max(self.largest, float(magnitudes.max(initial=0)))
        while self.top < self.largest:
            self.top *= 2
            self.counts = np.concatenate([self.counts.reshape(-1, 2).sum(1), np.zeros(BINS // 2, np.int64)])
        bins = np.minimum(magnitudes * np.float32(BINS / self.top), BINS - 1).astype(np.int64)
        self.counts += np.bincount(bins, minlength=BINS)

    def best_clipping_limit(self, levels: int) -> float:
        """The limit with the least squared error if [0, limit] is divided into this many levels.

        Rounding costs step^2 / 12 for each value below the limit. Clipping costs CLIPPING times the square
        of the distance above it.
        """
        if not self.counts.any():
            return self.largest
        values = (np.arange(BINS) + 0.5) * (self.top / BINS)
        number, total, squares = (np.cumsum((self.counts * values**power)[::-1])[::-1] for power in range(3))
        clipping = CLIPPING * (squares - 2 * values * total + values**2 * number)
        rounding = (self.counts.sum() - number) * (values / levels)**2 / 12
        return min(float(values[np.argmin(clipping + rounding)]), self.largest)


def find_ranges(network: Network, groups: ScaleGroups, frames: Array) -> tuple[dict[int, Histogram], float]:
    """Run a float network on frames (N, H, W, 3) uint8.

    Returns:
        Scale group -> histogram, and the largest mean of a plane before the linear layer.
    """
    histograms = {group: Histogram() for group in groups.written if group != HEAD}

    def visit(index: int, values: Array) -> None:
        if network.ops[index].kind != 'copy':
            histograms[groups.written[index]].add(values)

    _, pooled = evaluate(network, frames, visit)
    return histograms, float(pooled.max())
