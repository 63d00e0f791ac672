"""What values a network's maps take on calibration frames, and where to clip them for 8 bits."""

from dataclasses import dataclass

import numpy as np

from shufflenet_ros.packer.batch import evaluate
from shufflenet_ros.packer.contents import HEAD, Contents
from shufflenet_ros.packer.errors import PackError
from shufflenet_ros.packer.network import Array, Network

BINS = 2048
CLIPPING = 8.0
"""How much more a squared error counts when it comes from clipping. Rounding errors of many inputs cancel
out, clipping hits the strongest values of single frames: 1 gave the same error on average, but outliers up to
twice as large; from 16 on the average rises."""


class Histogram:
    """Counts of magnitudes in equal bins from 0 on; the range doubles when a larger one comes.

    Zeros, which every scale holds exactly, are left out.
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
        places = np.minimum(magnitudes * np.float32(BINS / self.top), BINS - 1).astype(np.int64)
        self.counts += np.bincount(places, minlength=BINS)

    def best_limit(self, levels: int) -> float:
        """The limit with the least squared error where [0, limit] is cut into so many levels.

        Rounding costs step^2 / 12 for each value below the limit, clipping CLIPPING times the distance's
        square above it.
        """
        if not self.counts.any():
            return self.largest
        values = (np.arange(BINS) + 0.5) * (self.top / BINS)
        number, total, squares = (np.cumsum((self.counts * values**power)[::-1])[::-1] for power in range(3))
        clipping = CLIPPING * (squares - 2 * values * total + values**2 * number)
        rounding = (self.counts.sum() - number) * (values / levels)**2 / 12
        return min(float(values[np.argmin(clipping + rounding)]), self.largest)


@dataclass(frozen=True)
class Ranges:
    """What was seen.

    Attributes:
        contents: histogram of each content, by the number that Contents gives it.
        pooled: the largest mean of a plane that the linear layer saw.
    """

    contents: dict[int, Histogram]
    pooled: float


def find_ranges(network: Network, contents: Contents, frames: Array) -> Ranges:
    """Run a float network on frames (N, H, W, 3) uint8."""
    found = {number: Histogram() for number in contents.written if number != HEAD}

    def visit(index: int, values: Array) -> None:
        if network.ops[index].kind != 'copy':
            found[contents.written[index]].add(values)

    _, pooled = evaluate(network, frames, visit)
    return Ranges(found, float(pooled.max()))


@dataclass(frozen=True)
class Peaks:
    """The largest magnitude of each channel; one array for each operation.

    Attributes:
        read: (count,) of what it reads; of the frame what a byte can give.
        written: (outputs,) of what it gives; of the head those of the logits.
    """

    read: tuple[Array, ...]
    written: tuple[Array, ...]


def find_peaks(network: Network, frames: Array) -> Peaks:
    """Run a float network on frames.

    Raises:
        PackError: frames of another size or none, or a network whose values are not finite.
    """
    shape = (*network.size, 3)
    if frames.ndim != 4 or not len(frames) or frames.shape[1:] != shape or frames.dtype != np.uint8:
        raise PackError(f'calibration frames of shape {list(frames.shape)}, {frames.dtype}: expected '
                       f'[N, {shape[0]}, {shape[1]}, 3] uint8 with N at least 1; prepare them as the card of '
                       'this network says')
    written = [np.zeros(op.outputs) for op in network.ops]

    def visit(index: int, values: Array) -> None:
        written[index] = np.maximum(written[index], np.abs(values).max((1, 2, 3)))

    with np.errstate(over='ignore', invalid='ignore'):  # refused below, with the operation's kind
        logits, _ = evaluate(network, frames, visit)
    written[-1] = np.abs(logits).max(0)
    for op, peaks in zip(network.ops, written, strict=True):
        if not np.isfinite(peaks).all():
            raise PackError(f'a {op.kind} operation gives {peaks.max()} on a calibration frame: expected '
                           'finite values; train the network, or take other weights')
    return Peaks(_carried(network, written), tuple(written))


def _carried(network: Network, written: list[Array]) -> tuple[Array, ...]:
    """Each operation's own channels' peaks, from the peaks of those who wrote them."""
    held = [np.zeros(m.channels) for m in network.maps]
    read = []
    for op, peaks in zip(network.ops, written, strict=True):
        read.append(np.full(op.count, 128.0) if op.source is None
                    else held[op.source][op.first:op.first + op.count].copy())
        if op.target is not None:
            held[op.target][op.table if op.table.size else slice(None)] = peaks
    return tuple(read)
