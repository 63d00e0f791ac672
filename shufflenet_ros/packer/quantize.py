"""A float network to an int8 one: a scale for each content of a map, then steps for weights and biases.

int8.py has the arithmetic. Maps after a ReLU are stored as real = (q + 128) * scale, so that the saturation
at -128 is the ReLU; outputs of depthwise convolutions, which have both signs, as real = q * scale.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from shufflenet_ros.packer.batch import new_maps, run_op, source_of, sums
from shufflenet_ros.packer.contents import FRAME, Contents, find_contents
from shufflenet_ros.packer.equalize import equalize
from shufflenet_ros.packer.errors import PackError
from shufflenet_ros.packer.network import Array, Network, Op
from shufflenet_ros.packer.ranges import Ranges, find_peaks, find_ranges

ONE = 2**19
"""A multiplier m turns a sum into m / ONE times as many steps of the output."""
LEAST, MOST = 256, 2**15 - 1
LEAST_SCALE = 1e-30
"""Of what is 0 on every frame."""
MOST_BIAS = 2**29
"""Far beyond what saturates; no sum of products carries it past 2^31."""
CORRECTION_FRAMES = 64
CORRECTION_VALUES = 2**28
_PASSES = 32


@dataclass(frozen=True)
class Content:
    """How a map is stored while it has one content.

    Attributes:
        scale: real value of one step.
        zero: what is added to a step before it is scaled: 128, or 0 where values have both signs.
    """

    scale: float
    zero: int


def quantize(network: Network, frames: Array) -> Network:
    """The int8 network of a float one.

    Channels are equalized, maps clipped where the squared error on the frames is least, and each bias is
    moved by the mean error that its channel then shows. The same frames give the same bytes.

    Args:
        network: of precision fp32.
        frames: (N, H, W, 3) uint8 for calibration.

    Raises:
        PackError: frames of another size or none, values that are not finite, or weights that int8 cannot
            hold.
    """
    contents = find_contents(network)
    network = equalize(network, contents, find_peaks(network, frames))
    ranges = find_ranges(network, contents, frames)
    stored = _stored(network, contents, ranges)
    ops = [_quantized(op, *_around(contents, stored, index)) for index, op in enumerate(network.ops[:-1])]
    last = stored[contents.read[-1]]
    if not last.zero:
        raise PackError('the map before the linear layer has values below 0: expected one after a ReLU, all '
                       'that the int8 head can take means of; use fp32')
    ops.append(_head(network, last.scale, ranges.pooled))
    whole = replace(network, precision='int8', ops=tuple(ops), embedding_scale=float(np.float32(last.scale)))
    return _corrected(network, whole, contents, stored, frames)


def _around(contents: Contents, stored: Mapping[int, Content], index: int
            ) -> tuple[Content, Content, Content]:
    """How an operation's source, target, and what its residual adds to, are stored."""
    return stored[contents.read[index]], stored[contents.written[index]], stored[contents.held[index]]


def _stored(network: Network, contents: Contents, ranges: Ranges) -> dict[int, Content]:
    """Scales of the contents from their ranges, raised where multipliers or residuals ask for it."""
    rectified = {number for number, op in zip(contents.written, network.ops, strict=True) if op.relu}
    stored = {FRAME: Content(1.0, 0)}
    for number, histogram in ranges.contents.items():
        levels, zero = (255, 128) if number in rectified else (127, 0)
        stored[number] = Content(max(histogram.best_limit(levels) / levels, LEAST_SCALE), zero)
    for _ in range(_PASSES):
        raised = False
        for index, op in enumerate(network.ops[:-1]):
            source, target, held = _around(contents, stored, index)
            least = _least_scale(op, source, held)
            if least > target.scale:
                stored[contents.written[index]] = replace(target, scale=least)
                raised = True
        if not raised:
            return stored
    raise PackError(f'scales of maps still grow after {_PASSES} passes: expected weights that go with the '
                   'values of their maps; train the network, or use fp32')


def _least_scale(op: Op, source: Content, held: Content) -> float:
    """Of a target: the largest weight's multiplier fits, and no residual is multiplied by more than 1."""
    if op.kind == 'copy':
        return 0.0
    least = source.scale * float(np.abs(op.weights).max()) / 127 * ONE / (MOST - 1)
    return max(least, held.scale) if op.residual else least


def _quantized(op: Op, source: Content, target: Content, held: Content) -> Op:
    if op.kind == 'copy':
        return replace(op, weights=op.weights.astype(np.int8), bias=op.bias.astype(np.int32))
    rows = _rows(op)
    unit = target.scale / source.scale / ONE  # a weight's step where the multiplier is 1
    peak = np.abs(rows).max(1)
    # The largest weight takes a whole number of steps: 1/9, the weight of a mean, has to be met.
    largest = np.clip(np.floor(peak / (unit * LEAST)), 1, 127)
    multiplier = np.clip(np.ceil(peak / largest / unit * (1 - 1e-12)), LEAST, MOST)
    steps = np.rint(rows / (unit * multiplier)[:, None])
    kept = min(MOST, round(held.scale / target.scale * 2**15)) if op.residual else 0
    rate = multiplier / ONE
    zero = target.zero - target.zero * kept / 2**15
    bias = (op.bias / target.scale - zero) / rate + source.zero * steps.sum(1)
    return replace(
        op, weights=steps.astype(np.int8).reshape(op.weights.shape), bias=_whole_bias(bias),
        multiplier=multiplier.astype(np.int16), residual_multiplier=kept, relu=False,
        unsigned=op.kind == 'depthwise' and source.zero > 0, pad=(
            float(np.rint(op.pad[0])), float(np.rint(op.pad[1])), float(np.rint(op.pad[2]))))


def _rows(op: Op) -> Array:
    """(out, weights of an output) float64."""
    return op.weights.reshape(len(op.weights), -1).astype(np.float64)


def _whole_bias(bias: Array) -> Array:
    return np.clip(np.rint(bias), -MOST_BIAS, MOST_BIAS).astype(np.int32)


def _head(network: Network, scale: float, pooled: float) -> Op:
    op = network.ops[-1]
    source = network.maps[op.source or 0]
    step = max(pooled / 255, LEAST_SCALE)
    rows = _rows(op)
    weight_step = np.maximum(np.abs(rows).max(1) / 127, LEAST_SCALE)
    return replace(
        op, weights=np.rint(rows / weight_step[:, None]).astype(np.int8),
        multiplier=(step * weight_step).astype(np.float32),
        scale=float(np.float32(scale / (source.height * source.width) / step)))


def _corrected(network: Network, whole: Network, contents: Contents, stored: Mapping[int, Content],
               frames: Array) -> Network:
    """Biases moved by the mean error of their channels, one operation after the other.

    Both networks run side by side, so that an operation's correction sees those before it.
    """
    values = sum(m.channels * m.height * m.width for m in network.maps)
    frames = frames[:min(CORRECTION_FRAMES, max(1, CORRECTION_VALUES // values))]
    maps, whole_maps = new_maps(network, len(frames)), new_maps(whole, len(frames))
    ops = list(whole.ops)
    for index, op in enumerate(network.ops[:-1]):
        if op.multiplier is None and op.kind != 'copy':
            target = stored[contents.written[index]]
            wanted = _mean_before_relu(op, maps, frames) / target.scale - target.zero
            ops[index] = _moved(ops[index], wanted, whole_maps, frames)
        run_op(network, op, maps, frames)
        run_op(whole, ops[index], whole_maps, frames)
    return replace(whole, ops=tuple(ops))


def _mean_before_relu(op: Op, maps: list[Array], frames: Array) -> Array:
    """(out,) float64; the target's scale and zero are those of the maps."""
    mean = sums(op, source_of(op, maps, frames)).mean((1, 2, 3), dtype=np.float64) + op.bias
    if op.residual and op.target is not None:
        mean += maps[op.target][op.table].mean((1, 2, 3), dtype=np.float64)
    return np.asarray(mean)


def _moved(op: Op, wanted: Array, maps: list[Array], frames: Array) -> Op:
    """The quantized operation with biases for which its mean step, before saturation, is the wanted one."""
    assert op.multiplier is not None
    rate = op.multiplier / ONE
    products = sums(op, source_of(op, maps, frames), exact=True)
    mean = (products.mean((1, 2, 3), dtype=np.float64) + op.bias) * rate
    if op.residual and op.target is not None:
        mean += maps[op.target][op.table].mean((1, 2, 3), dtype=np.float64) * op.residual_multiplier / 2**15
    return replace(op, bias=_whole_bias(op.bias + (wanted - mean) / rate))
