"""fp16 networks: scaled into the range of half precision by a power of two, or refused with the figures."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip('onnx')
pytest.importorskip('torch')

from graph_drafts import V1, V2, exported, taken

from shufflenet_ros.datasets.calibration import seeded_images
from shufflenet_ros.packer.batch import evaluate
from shufflenet_ros.packer.blob import write_blob
from shufflenet_ros.packer.errors import PackError
from shufflenet_ros.packer.half import MOST_SUM, MOST_VALUE, to_half


def frames(network, count=8, seed=0):
    return np.stack([image.pixels for image in seeded_images(network.size, count, seed)])


@pytest.fixture(scope='module', params=[V1, V2], ids=['v1', 'v2'])
def network(request):
    return taken(exported(request.param))


def louder(network, factor):
    """The same network with values so many times as large."""
    ops = [replace(op, bias=(op.bias * factor).astype(np.float32)) for op in network.ops]
    ops[0] = replace(ops[0], weights=(ops[0].weights * factor).astype(np.float32))
    return replace(network, ops=tuple(ops))


def largest_value(network, images):
    seen = []
    evaluate(network, images, lambda index, values: seen.append(float(np.abs(values).max())))
    return max(seen)


def relative(network, half, images):
    return max(float(np.abs(a - b).max() / np.abs(a).max())
               for a, b in zip(evaluate(network, images), evaluate(half, images), strict=True))


def test_an_ordinary_network_stays_as_it_is(network):
    half = to_half(network, frames(network))
    assert half.precision == 'fp16' and half.logit_scale == half.embedding_scale == 1
    assert all(op.weights.dtype == np.float16 and op.bias.dtype == np.float32 for op in half.ops)
    assert 0 < relative(network, half, frames(network, 4, 7)) < 4e-3


@pytest.mark.parametrize('factor', [3e3, 1e5])
def test_large_values_are_brought_into_range(network, factor):
    loud = louder(network, factor)
    assert largest_value(loud, frames(network)) > MOST_VALUE
    half = to_half(loud, frames(network))
    assert half.logit_scale == half.embedding_scale > 1 and np.log2(half.logit_scale) % 1 == 0
    others = frames(network, 4, 7)
    # Scaled back by evaluate; what the maps hold is in range, and would not be with half of the scale.
    assert largest_value(half, frames(network)) <= MOST_VALUE
    assert relative(loud, half, others) < 4e-3


def test_the_scale_is_the_least_that_will_do(network):
    """Sums of an output's magnitudes decide as well: none may leave half's range on its way."""
    for factor in (1e3, 1e4, 1e5):
        loud = louder(network, factor)
        exponent = int(np.log2(to_half(loud, frames(network)).logit_scale))
        twice = int(np.log2(to_half(louder(network, 2 * factor), frames(network)).logit_scale))
        assert twice in (exponent, exponent + 1) and (exponent == 0 or twice == exponent + 1)
    assert MOST_SUM < 65504 / 1.9


def test_sums_on_their_way_count_as_well(network):
    """An output that its bias keeps at 0, while sums of its products would leave half's range."""
    first, _ = pair_of(network)
    op = network.ops[first]
    weights, bias = op.weights.copy(), op.bias.copy()
    weights[0], bias[0] = 3e3 * (-1.0) ** np.arange(weights.shape[1]), -3e4
    loud = changed(network, **{f'at_{first}': replace(op, weights=weights, bias=bias)})
    assert largest_value(loud, frames(network)) < MOST_VALUE
    assert to_half(loud, frames(network)).logit_scale > 1


def test_same_frames_same_bytes(network):
    assert write_blob(to_half(network, frames(network))) == write_blob(to_half(network, frames(network)))


def pair_of(network):
    """Places of a pointwise layer and of the depthwise one behind it."""
    return next((place, place + 1) for place, op in enumerate(network.ops)
                if op.kind == 'pointwise' and network.ops[place + 1].kind == 'depthwise'
                and network.ops[place + 1].source == op.target)


def changed(network, **new):
    """Operations by place (such as at_3) replaced."""
    ops = list(network.ops)
    for place, op in new.items():
        ops[int(place.removeprefix('at_'))] = op
    return replace(network, ops=tuple(ops))


def times(op, weights, bias):
    return replace(op, weights=op.weights * np.float32(weights), bias=op.bias * np.float32(bias))


def test_refuses_weights_too_small_for_half(network):
    first, second = pair_of(network)
    # Values of a thousand, weights of a millionth.
    small = changed(network, **{f'at_{first}': times(network.ops[first], 1e3, 1e3),
                                f'at_{second}': times(network.ops[second], 1e-6, 1e-3)})
    with pytest.raises(PackError, match=r'the weights of a depthwise operation, up to .*e-0[67], lose 0\.[01]'
                                       r'\d* of themselves in half precision: expected at most 0.00098'):
        to_half(small, frames(network))


def test_refuses_weights_too_large_for_half(network):
    _, second = pair_of(network)
    weights = network.ops[second].weights.copy()
    weights[0, 1, 1] = 1e5
    with pytest.raises(PackError, match=r'the weights of a depthwise operation, up to 1e\+05, lose inf of'):
        to_half(changed(network, **{f'at_{second}': replace(network.ops[second], weights=weights)}),
                frames(network))


def test_refuses_maps_that_would_have_no_digits_left(network):
    _, second = pair_of(network)
    quiet = changed(network, **{f'at_{second}': times(network.ops[second], 1e-5, 1e-5)})
    with pytest.raises(PackError, match='the largest value of a depthwise operation is .*e-0., and .* '
                                       'expected at least 0.000977.*use fp32'):
        to_half(quiet, frames(network))


def test_refuses_frames_that_do_not_fit(network):
    with pytest.raises(PackError, match=r'shape \[0, 64, 96, 3\], uint8: expected \[N, 64, 96, 3\]'):
        to_half(network, np.zeros((0, 64, 96, 3), np.uint8))
