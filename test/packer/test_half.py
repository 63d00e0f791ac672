# SPDX-License-Identifier: Apache-2.0
"""fp16 networks: scaled into the range of half precision by a power of two, or an error with the figures."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip('onnx')
pytest.importorskip('torch')

from graph_drafts import V1, V2, exported, frames_for, read, relative_error

from shufflenet_ros.packer.blob import write_blob
from shufflenet_ros.packer.half import MAX_SUM, MAX_VALUE, to_half
from shufflenet_ros.packer.network import PackError
from shufflenet_ros.packer.reference import evaluate


@pytest.fixture(scope='module', params=[V1, V2], ids=['v1', 'v2'])
def network(request):
    return read(exported(request.param))


def scaled(network, factor):
    """The same network with all values multiplied by a factor."""
    ops = [replace(op, bias=(op.bias * factor).astype(np.float32)) for op in network.ops]
    ops[0] = replace(ops[0], weights=(ops[0].weights * factor).astype(np.float32))
    return replace(network, ops=tuple(ops))


def largest_value(network):
    values = []
    evaluate(network, frames_for(network, 8), lambda index, y: values.append(float(np.abs(y).max())))
    return max(values)


def error_on_other_frames(network, half):
    frames = frames_for(network, 4, 7)
    return max(relative_error(got, wanted)
               for wanted, got in zip(evaluate(network, frames), evaluate(half, frames), strict=True))


def half_of(network):
    return to_half(network, frames_for(network, 8))


def test_an_ordinary_network_is_not_scaled(network):
    half = half_of(network)
    assert half.precision == 'fp16' and half.logit_scale == half.embedding_scale == 1
    assert all(op.weights.dtype == np.float16 and op.bias.dtype == np.float32 for op in half.ops)
    assert 0 < error_on_other_frames(network, half) < 4e-3
    assert write_blob(half) == write_blob(half_of(network))


@pytest.mark.parametrize('factor', [3e3, 1e5])
def test_large_values_are_scaled_into_range(network, factor):
    large = scaled(network, factor)
    assert largest_value(large) > MAX_VALUE
    half = half_of(large)
    assert half.logit_scale == half.embedding_scale > 1 and np.log2(half.logit_scale) % 1 == 0
    # evaluate scales the outputs back; the values in the maps are in range
    assert largest_value(half) <= MAX_VALUE
    assert error_on_other_frames(large, half) < 4e-3


def test_the_scale_is_the_least_that_suffices(network):
    """Sums of an output's magnitudes count as well: no partial sum may leave half's range."""
    for factor in (1e3, 1e4, 1e5):
        exponent = int(np.log2(half_of(scaled(network, factor)).logit_scale))
        twice = int(np.log2(half_of(scaled(network, 2 * factor)).logit_scale))
        assert twice in (exponent, exponent + 1) and (exponent == 0 or twice == exponent + 1)
    assert MAX_SUM < 65504 / 1.9


def pair_of(network):
    """Indices of a pointwise layer and of the depthwise one after it."""
    return next((index, index + 1) for index, op in enumerate(network.ops)
                if op.kind == 'pointwise' and network.ops[index + 1].kind == 'depthwise'
                and network.ops[index + 1].source == op.target)


def with_op(network, index, **changes):
    ops = list(network.ops)
    ops[index] = replace(ops[index], **changes)
    return replace(network, ops=tuple(ops))


def times(network, index, weights, bias):
    op = network.ops[index]
    return with_op(network, index, weights=op.weights * np.float32(weights), bias=op.bias * np.float32(bias))


def test_partial_sums_count_as_well(network):
    """An output that its bias keeps at 0, while sums of its products would leave half's range."""
    first, _ = pair_of(network)
    weights, bias = network.ops[first].weights.copy(), network.ops[first].bias.copy()
    weights[0], bias[0] = 3e3 * (-1.0) ** np.arange(weights.shape[1]), -3e4
    large = with_op(network, first, weights=weights, bias=bias)
    assert largest_value(large) < MAX_VALUE
    assert half_of(large).logit_scale > 1


def small_weights(network):
    """Values of a thousand, weights of a millionth."""
    first, second = pair_of(network)
    return times(times(network, first, 1e3, 1e3), second, 1e-6, 1e-3)


def one_large_weight(network):
    _, second = pair_of(network)
    weights = network.ops[second].weights.copy()
    weights[0, 1, 1] = 1e5
    return with_op(network, second, weights=weights)


@pytest.mark.parametrize(('change', 'message'), [
    (small_weights, r'the weights of a depthwise operation, up to .*e-0[67], have an error of 0\.[01]\d* in '
                    'half precision: expected at most 0.00098'),
    (one_large_weight, r'the weights of a depthwise operation, up to 1e\+05, have an error of inf in'),
    (lambda network: times(network, pair_of(network)[1], 1e-5, 1e-5),
     'the largest value of a depthwise operation is .*e-0., and .* expected at least 0.000977.*use fp32'),
])
def test_a_network_that_does_not_fit(change, message, network):
    with pytest.raises(PackError, match=message):
        half_of(change(network))
