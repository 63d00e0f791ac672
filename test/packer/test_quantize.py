# SPDX-License-Identifier: Apache-2.0
"""int8 networks: numbers that fit the kernels, outputs close to the float ones, and errors."""

import functools
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip('onnx')
pytest.importorskip('torch')

from graph_drafts import SIZE, V1, V2, frames_for, read

from benchmarks.arm.reference import reference_network
from shufflenet_ros.bundles.bundle import open_bundle
from shufflenet_ros.packer import quantize as module
from shufflenet_ros.packer import reference
from shufflenet_ros.packer.blob import write_blob
from shufflenet_ros.packer.equalize import equalize
from shufflenet_ros.packer.graph import read_network
from shufflenet_ros.packer.half import to_half
from shufflenet_ros.packer.network import NO_TABLE, Map, Network, Op, PackError
from shufflenet_ros.packer.quantize import MAX_MULTIPLIER, MIN_MULTIPLIER, quantize
from shufflenet_ros.packer.ranges import (
    CLIPPING,
    FRAME,
    HEAD,
    Histogram,
    find_peaks,
    find_ranges,
    find_scale_groups,
)
from shufflenet_ros.packer.reference import evaluate, new_maps, requantize, run_op, source_of, sums
from shufflenet_ros.zoo.export import to_onnx

SMALL_MODEL = 'shufflenet_v1_x0_5_g3-tiny_imagenet-64'

NETWORKS = {
    'v1 g3': V1,
    'v1 g8': {**V1, 'groups': 8, 'width': 0.25},
    'v2': V2,
}


@functools.cache
def fitted(name):
    """Random weights, and normalizations that fit images: values vary as in a trained network."""
    return read(to_onnx(reference_network(NETWORKS[name], SIZE[0], 7), SIZE))


@functools.cache
def quantized_once(name, corrected=True):
    network = fitted(name)
    with pytest.MonkeyPatch.context() as patch:
        if not corrected:
            patch.setattr(module, '_corrected', lambda network, quantized, *_: quantized)
        return quantize(network, frames_for(network))


@pytest.fixture(params=NETWORKS)
def name(request):
    return request.param


@pytest.fixture
def pair(name):
    """A float network and its int8 one."""
    return fitted(name), quantized_once(name)


@pytest.fixture
def v1():
    return fitted('v1 g3')


def error(network, quantized):
    """Error of the logits on other frames."""
    frames = frames_for(network, 16, 7)
    (wanted, _), (got, _) = evaluate(network, frames), evaluate(quantized, frames)
    return spread(got - wanted, wanted)


def spread(differences, wanted):
    """Root mean square of differences, relative to how far the right values vary between frames."""
    return float(np.sqrt(np.square(differences).mean()) / (wanted - wanted.mean(0)).std())


def test_every_number_fits_the_kernels_and_every_bit_of_weights_is_used(pair):
    _, quantized = pair
    for op in quantized.ops[:-1]:
        if op.kind == 'copy':
            continue
        assert op.weights.dtype == np.int8 and op.weights.min() >= -127
        assert op.multiplier.dtype == np.int16 and op.bias.dtype == np.int32
        assert op.multiplier.min() >= MIN_MULTIPLIER and op.multiplier.max() <= MAX_MULTIPLIER
        magnitudes = np.abs(op.weights.astype(np.int64)).reshape(len(op.weights), -1)
        assert (128 * magnitudes.sum(1) + np.abs(op.bias.astype(np.int64))).max() < 2**31
        # The largest weight takes most of the 127 steps, or the multiplier could not be smaller.
        largest = magnitudes.max(1)
        assert ((largest >= 126) | (op.multiplier <= MIN_MULTIPLIER * 1.2) | (largest == 0)).all()
        assert 0 < op.residual_multiplier <= MAX_MULTIPLIER if op.residual else op.residual_multiplier == 0
        assert not op.relu and all(value == round(value) for value in op.pad)
    head = quantized.ops[-1]
    assert head.weights.dtype == np.int8 and head.multiplier.dtype == head.bias.dtype == np.float32
    assert head.scale > 0 and quantized.embedding_scale > 0


def test_errors_are_those_of_a_little_noise_in_the_image(pair):
    """Random networks magnify any change: int8 counts as much as two gray levels do."""
    network, quantized = pair
    frames = frames_for(network, 16, 7)
    noise = np.random.default_rng(0).integers(-2, 3, frames.shape)
    wanted, _ = evaluate(network, frames)
    noisy, _ = evaluate(network, np.clip(frames + noise, 0, 255).astype(np.uint8))
    assert error(network, quantized) < 1.5 * spread(noisy - wanted, wanted)


def test_a_shipped_network_stays_close():
    bundle = open_bundle(SMALL_MODEL)
    network = read_network(bundle.data, bundle.card.input, bundle.card.outputs)
    quantized = quantize(network, frames_for(network, 32))
    frames = frames_for(network, 32, 7)
    for wanted, got in zip(evaluate(network, frames), evaluate(quantized, frames), strict=True):
        assert spread(got - wanted, wanted) < 0.1


def test_outputs_have_the_same_bits_in_any_chunks_and_type_of_maps(pair, monkeypatch):
    _, quantized = pair
    frames = frames_for(quantized, 3, 3)
    together = evaluate(quantized, frames)
    monkeypatch.setattr(reference, 'CHUNK_VALUES', 1)  # a chunk for each frame
    for got, wanted in zip(evaluate(quantized, frames, dtype=np.float64), together, strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_same_frames_same_bytes(v1):
    once = write_blob(quantized_once('v1 g3'))
    assert once == write_blob(quantize(v1, frames_for(v1)))
    assert once != write_blob(quantize(v1, frames_for(v1, seed=1)))


def test_mean_errors_are_corrected(name):
    network, frames = fitted(name), frames_for(fitted(name))
    wanted = evaluate(network, frames)[1].mean(0)

    def mean_error(quantized):
        return np.abs(evaluate(quantized, frames)[1].mean(0) - wanted).mean()

    assert mean_error(quantized_once(name)) < 0.75 * mean_error(quantized_once(name, corrected=False))


def test_each_operation_gives_the_float_values_in_steps(name):
    """From the same steps, on scales that are the same for all that an operation reads."""
    network, quantized = fitted(name), quantized_once(name, corrected=False)
    groups, frames = find_scale_groups(network), frames_for(network)
    network = equalize(network, groups, find_peaks(network, frames))
    scales = module._scales(network, groups, find_ranges(network, groups, frames)[0])
    steps = new_maps(quantized, len(frames))
    for index, (op, int8_op) in enumerate(zip(network.ops[:-1], quantized.ops[:-1], strict=True)):
        if op.kind != 'copy':
            source, target, residual = module._scales_of(groups, scales, index)
            read_steps = source_of(int8_op, steps, frames)
            previous = steps[op.target][op.table] if op.residual else None
            values = sums(op, (read_steps + source.zero) * np.float32(source.step))
            values += op.bias[:, None, None, None]
            if op.residual:
                values += (previous + residual.zero) * np.float32(residual.step)
            got = requantize(int8_op, sums(int8_op, read_steps), previous)
            wanted = np.clip(values / target.step - target.zero, -128, 127)
            assert np.abs(got - wanted).mean() < 0.6 and np.abs(got - wanted).max() < 8
        run_op(quantized, int8_op, steps, frames)


def test_a_mean_over_a_window_keeps_its_weight(pair):
    """The shortcut's nine weights of 1/9 are rounded alike, so an error would change a whole map."""
    shortcuts = [(a, b) for a, b in zip(*(network.ops for network in pair), strict=True)
                 if a.kind == 'depthwise' and np.ptp(a.weights) == 0]
    assert len(shortcuts) == (3 if any(op.residual for op in pair[0].ops) else 0)
    for _, op in shortcuts:
        assert op.unsigned and np.ptp(op.weights) == 0
        # 9 steps of weight times the multiplier is the ratio of the two scales, the same for each channel.
        gain = op.multiplier.astype(float) * op.weights[:, 0, 0]
        assert np.ptp(gain) < 0.005 * gain.mean()


def with_dead_channel(network):
    """A channel that is 0 everywhere, with weights of some hundred, as its batch normalization gives."""
    ops = list(network.ops)
    index = next(i for i, op in enumerate(ops) if op.kind == 'pointwise' and op.relu and not op.residual
                 and ops[i + 1].kind == 'depthwise' and ops[i + 1].source == op.target)
    first, second = ops[index], ops[index + 1]
    bias, weights = first.bias.copy(), second.weights.copy()
    bias[2] = -1e3
    weights[int(first.table[2]) - second.first] *= 300
    ops[index], ops[index + 1] = replace(first, bias=bias), replace(second, weights=weights)
    return replace(network, ops=tuple(ops))


def test_dead_channels_cost_the_others_nothing(v1, monkeypatch):
    network, frames = with_dead_channel(v1), frames_for(v1)
    usual = error(v1, quantized_once('v1 g3'))
    assert error(network, quantize(network, frames)) < 1.5 * usual
    monkeypatch.setattr(module, 'equalize', lambda network, *_: network)
    assert error(network, quantize(network, frames)) > 4 * error(v1, quantize(v1, frames))


def test_an_equalized_network_computes_the_same(pair):
    network, _ = pair
    before = find_peaks(network, frames_for(network))
    equalized = equalize(network, find_scale_groups(network), before)
    frames = frames_for(network, 4, 7)
    for a, b in zip(evaluate(network, frames), evaluate(equalized, frames), strict=True):
        assert np.abs(a - b).max() < 1e-5 * np.abs(a).max()
    after = find_peaks(equalized, frames_for(network))
    for index, (op, reader) in enumerate(zip(network.ops, network.ops[1:])):
        if op.kind == 'pointwise' and reader.kind == 'depthwise' and reader.source == op.target:
            alive = before.written[index] > before.written[index].max() / 64
            assert np.allclose(after.written[index][alive], before.written[index].max(), rtol=1e-3)


def test_a_stage_of_v2_has_one_scale():
    network = fitted('v2')
    groups = find_scale_groups(network)
    copies = [index for index, op in enumerate(network.ops) if op.kind == 'copy']
    for index in copies:
        assert groups.read[index] == groups.written[index]
    assert len(copies) == 13 and len({groups.written[index] for index in copies}) == 3
    assert groups.read[0] == FRAME and groups.written[-1] == HEAD


def test_units_of_v1_have_scales_of_their_own(v1):
    groups = find_scale_groups(v1)
    residuals = [index for index, op in enumerate(v1.ops) if op.residual]
    assert residuals
    for index in residuals:
        assert groups.residual[index] not in (FRAME, groups.written[index])
    for index, op in enumerate(v1.ops):
        if op.kind == 'depthwise' and np.ptp(op.weights) == 0:  # a shortcut beside its branch
            assert any(v1.ops[other].target == op.target and groups.written[other] == groups.written[index]
                       for other in (index - 1, index + 1))


def test_sums_beyond_float32_are_exact():
    count = 2048
    op = Op('pointwise', 0, 0, count, np.full((1, count), 127, np.int8), np.zeros(1, np.int32), NO_TABLE)
    x = np.full((count, 1, 1, 1), -127, np.float32)
    x[0] = -126
    total = int(sums(op, x)[0, 0, 0, 0])
    assert total == -127 * (127 * (count - 1) + 126) and total % 2 == 1  # float32 has no odd numbers there


def test_a_histogram_finds_the_limit_of_least_error():
    rng = np.random.default_rng(0)
    values = np.abs(rng.normal(0, 1, 200_000)).astype(np.float32)
    histogram = Histogram()
    for part in np.split(np.concatenate([np.zeros(1000, np.float32), values]), 3):
        histogram.add(np.sort(part))
    assert histogram.counts.sum() == len(values)

    def cost(limit, levels=15):
        step = limit / levels
        inside = values <= limit
        rounded = np.rint(values[inside] / step) * step
        return (np.square(values[inside] - rounded).sum()
                + CLIPPING * np.square(values[~inside] - limit).sum())

    limit = histogram.best_clipping_limit(15)
    assert cost(limit) < 1.02 * min(cost(other) for other in np.linspace(1, values.max(), 60))
    assert limit < 0.9 * values.max()


@pytest.mark.parametrize('convert', [quantize, to_half])
@pytest.mark.parametrize(('frames', 'message'), [
    (np.zeros((0, 64, 96, 3), np.uint8), r'shape \[0, 64, 96, 3\], uint8: expected \[N, 64, 96, 3\] uint8'),
    (np.zeros((2, 96, 64, 3), np.uint8), r'shape \[2, 96, 64, 3\]'),
    (np.zeros((2, 64, 96, 3), np.float32), 'float32: expected .* uint8'),
    (np.zeros((64, 96, 3), np.uint8), r'shape \[64, 96, 3\]'),
])
def test_frames_that_do_not_fit(v1, frames, message, convert):
    with pytest.raises(PackError, match=message):
        convert(v1, frames)


def test_values_that_are_not_finite(v1):
    bias = v1.ops[1].bias.copy()
    bias[0] = np.inf
    broken = replace(v1, ops=(v1.ops[0], replace(v1.ops[1], bias=bias), *v1.ops[2:]))
    with pytest.raises(PackError, match='a pointwise operation gives inf on a calibration frame: expected'):
        quantize(broken, frames_for(v1))


def test_a_last_map_with_negative_values(v1):
    signed = tuple(replace(op, relu=False) if op.target == v1.ops[-1].source else op for op in v1.ops)
    with pytest.raises(PackError, match='before the linear layer has negative values'):
        quantize(replace(v1, ops=signed), frames_for(v1))


def test_scales_that_never_settle():
    """Two layers whose outputs stay small while their weights are huge, on maps that share a scale."""
    table = np.arange(2, dtype=np.uint32)
    weights = np.array([[1e4, -1e4], [-1e4, 1e4]], np.float32)

    def layer(source, target):
        return Op('pointwise', source, target, 2, weights, np.ones(2, np.float32), table, relu=True)

    ops = (
        Op('stem', None, 1, 3, np.zeros((2, 3, 3, 3), np.float32), np.ones(2, np.float32), NO_TABLE, stride=2,
           relu=True),
        layer(1, 0), layer(0, 1),
        Op('copy', 1, 0, 2, np.zeros(0, np.float32), np.zeros(0, np.float32), table + 2),
        Op('pointwise', 0, 1, 4, np.zeros((2, 4), np.float32), np.ones(2, np.float32), table, relu=True),
        Op('head', 1, None, 2, np.ones((3, 2), np.float32), np.zeros(3, np.float32), NO_TABLE))
    network = Network('fp32', (8, 8), (Map(4, 4, 4), Map(2, 4, 4)), ops, '00' * 32)
    with pytest.raises(PackError, match='scales of maps still grow after 32 passes: expected weights'):
        quantize(network, np.zeros((2, 8, 8, 3), np.uint8))
