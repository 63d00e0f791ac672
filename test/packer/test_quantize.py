"""int8 networks: numbers that the kernels can hold, answers close to the float ones, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip('onnx')
pytest.importorskip('torch')

import torch
from graph_drafts import SIZE, V1, V2, taken

from shufflenet_ros.bundles.bundle import open_bundle
from shufflenet_ros.datasets.calibration import seeded_images
from shufflenet_ros.packer import quantize as module
from shufflenet_ros.packer import reference
from shufflenet_ros.packer.batch import _steps, evaluate, new_maps, run_op, source_of, sums
from shufflenet_ros.packer.blob import write_blob
from shufflenet_ros.packer.contents import FRAME, HEAD, find_contents
from shufflenet_ros.packer.equalize import equalize
from shufflenet_ros.packer.errors import PackError
from shufflenet_ros.packer.graph import read_network
from shufflenet_ros.packer.network import NO_TABLE, Map, Network, Op
from shufflenet_ros.packer.quantize import LEAST, MOST, quantize
from shufflenet_ros.packer.ranges import CLIPPING, Histogram, find_peaks, find_ranges
from shufflenet_ros.zoo.export import to_onnx
from shufflenet_ros.zoo.normalization import IMAGENET, normalize
from shufflenet_ros.zoo.registry import build, config_of

SMALL_MODEL = 'shufflenet_v1_x0_5_g3-tiny_imagenet-64'

NETWORKS = {
    'v1 g3': V1,
    'v1 g8': {**V1, 'groups': 8, 'width': 0.25},
    'v2': V2,
}


@torch.no_grad()
def fitted(network):
    """Random weights, and normalizations that fit images: values vary as in a trained network."""
    torch.manual_seed(1)
    model = build(config_of(network, 7))
    for norm in (layer for layer in model.modules() if isinstance(layer, torch.nn.BatchNorm2d)):
        norm.weight.uniform_(0.5, 1.5)
        norm.bias.normal_(0, 0.2)
        norm.momentum = None
    images = np.stack([image.pixels for image in seeded_images(SIZE, 16, 5)])
    model.train()(normalize(torch.from_numpy(images), IMAGENET))
    return taken(to_onnx(model.eval(), SIZE))


def frames(network, count=16, seed=0):
    return np.stack([image.pixels for image in seeded_images(network.size, count, seed)])


@pytest.fixture(scope='module', params=NETWORKS)
def pair(request):
    """A float network and its int8 one."""
    network = fitted(NETWORKS[request.param])
    return network, quantize(network, frames(network))


@pytest.fixture(scope='module')
def v1():
    return fitted(V1)


def error(network, whole):
    """Of the logits on other frames."""
    others = frames(network, 16, 7)
    (wanted, _), (got, _) = evaluate(network, others), evaluate(whole, others)
    return spread(got - wanted, wanted)


def spread(differences, wanted):
    """Root mean square of differences, relative to how far the right values vary between frames."""
    return float(np.sqrt(np.square(differences).mean()) / (wanted - wanted.mean(0)).std())


def test_every_number_fits_the_kernels(pair):
    _, whole = pair
    for op in whole.ops[:-1]:
        if op.kind == 'copy':
            continue
        assert op.weights.dtype == np.int8 and op.weights.min() >= -127
        assert op.multiplier.dtype == np.int16 and op.bias.dtype == np.int32
        assert op.multiplier.min() >= LEAST and op.multiplier.max() <= MOST
        largest = 128 * np.abs(op.weights.astype(np.int64)).reshape(len(op.weights), -1).sum(1)
        assert (largest + np.abs(op.bias.astype(np.int64))).max() < 2**31
        assert 0 < op.residual_multiplier <= MOST if op.residual else op.residual_multiplier == 0
        assert not op.relu and all(value == round(value) for value in op.pad)
    head = whole.ops[-1]
    assert head.weights.dtype == np.int8 and head.multiplier.dtype == head.bias.dtype == np.float32
    assert head.scale > 0 and whole.embedding_scale > 0


def test_every_bit_of_weights_is_used(pair):
    """Each output's largest weight takes most of the 127 steps, or its multiplier could not be smaller."""
    for op in pair[1].ops[:-1]:
        if op.kind != 'copy':
            largest = np.abs(op.weights.astype(int)).reshape(len(op.weights), -1).max(1)
            assert ((largest >= 126) | (op.multiplier <= LEAST * 1.2) | (largest == 0)).all()


def test_errors_are_those_of_a_little_noise_in_the_image(pair):
    """Random networks magnify any change: int8 counts as much as two gray levels do."""
    network, whole = pair
    others = frames(network, 16, 7)
    noise = np.random.default_rng(0).integers(-2, 3, others.shape)
    wanted, _ = evaluate(network, others)
    noisy, _ = evaluate(network, np.clip(others + noise, 0, 255).astype(np.uint8))
    assert error(network, whole) < 1.5 * spread(noisy - wanted, wanted)


def test_shipped_network_answers_the_same():
    bundle = open_bundle(SMALL_MODEL)
    network = read_network(bundle.data, bundle.card.input, bundle.card.outputs)
    whole = quantize(network, frames(network, 64))
    others = frames(network, 64, 7)
    for wanted, got in zip(evaluate(network, others), evaluate(whole, others), strict=True):
        assert spread(got - wanted, wanted) < 0.1


def test_frames_of_a_batch_are_the_definition_s(pair):
    _, whole = pair
    others = frames(whole, 3, 3)
    logits, embedding = evaluate(whole, others)
    for index, frame in enumerate(others):
        wanted = reference.run(whole, frame)
        assert np.array_equal(logits[index], wanted[0]) and np.array_equal(embedding[index], wanted[1])


def test_same_frames_same_bytes(v1):
    assert write_blob(quantize(v1, frames(v1))) == write_blob(quantize(v1, frames(v1)))
    assert write_blob(quantize(v1, frames(v1))) != write_blob(quantize(v1, frames(v1, seed=1)))


def test_mean_errors_are_corrected(pair, monkeypatch):
    network, images = pair[0], frames(pair[0])

    def mean_error(whole):
        return np.abs(evaluate(whole, images)[1].mean(0) - evaluate(network, images)[1].mean(0)).mean()

    monkeypatch.setattr(module, '_corrected', lambda network, whole, *_: whole)
    assert mean_error(pair[1]) < 0.75 * mean_error(quantize(network, images))


def test_each_operation_gives_the_float_one_s_values_in_steps(pair, monkeypatch):
    """From the same steps, on scales that are the same for all that an operation reads."""
    monkeypatch.setattr(module, '_corrected', lambda network, whole, *_: whole)
    network, contents, images = pair[0], find_contents(pair[0]), frames(pair[0])
    whole = quantize(network, images)
    network = equalize(network, contents, find_peaks(network, images))
    stored = module._stored(network, contents, find_ranges(network, contents, images))
    steps = new_maps(whole, len(images))
    for index, (op, quantized) in enumerate(zip(network.ops[:-1], whole.ops[:-1], strict=True)):
        if op.kind != 'copy':
            source, target, held = module._around(contents, stored, index)
            read = source_of(quantized, steps, images)
            values = sums(op, (read + source.zero) * np.float32(source.scale)) + op.bias[:, None, None, None]
            if op.residual:
                values += (steps[op.target][op.table] + held.zero) * np.float32(held.scale)
            # A pool takes the largest of the same steps.
            unpooled = replace(quantized, pool='')
            got = _steps(unpooled, sums(unpooled, read, exact=True),
                         steps[op.target][op.table] if op.residual else None)
            wanted = np.clip(values / target.scale - target.zero, -128, 127)
            assert np.abs(got - wanted).mean() < 0.6 and np.abs(got - wanted).max() < 8
        run_op(whole, quantized, steps, images)


def test_mean_over_a_window_keeps_its_weight(pair):
    """The shortcut's nine weights of 1/9 are rounded alike, so their error would change a whole map."""
    shortcuts = [(a, b) for a, b in zip(*(network.ops for network in pair), strict=True)
                 if a.kind == 'depthwise' and np.ptp(a.weights) == 0]
    assert len(shortcuts) == (3 if any(op.residual for op in pair[0].ops) else 0)
    for _, op in shortcuts:
        assert op.unsigned and np.ptp(op.weights) == 0
        # 9 steps of weight times the multiplier is the two scales' ratio, the same for each channel.
        gain = op.multiplier.astype(float) * op.weights[:, 0, 0]
        assert np.ptp(gain) < 0.005 * gain.mean()


def with_dead_channel(network):
    """A channel that is 0 everywhere, and the weights of some hundred that a BN gives it."""
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
    network = with_dead_channel(v1)
    assert error(network, quantize(network, frames(v1))) < 1.5 * error(v1, quantize(v1, frames(v1)))
    monkeypatch.setattr(module, 'equalize', lambda network, *_: network)
    assert error(network, quantize(network, frames(v1))) > 4 * error(v1, quantize(v1, frames(v1)))


def test_equalized_network_computes_the_same(pair):
    network, _ = pair
    peaks = find_peaks(network, frames(network))
    equal = equalize(network, find_contents(network), peaks)
    others = frames(network, 4, 7)
    for a, b in zip(evaluate(network, others), evaluate(equal, others), strict=True):
        assert np.abs(a - b).max() < 1e-5 * np.abs(a).max()
    before, after = peaks, find_peaks(equal, frames(network))
    for index, op in enumerate(network.ops):
        behind = network.ops[min(index + 1, len(network.ops) - 1)]
        if op.kind == 'pointwise' and behind.kind == 'depthwise' and behind.source == op.target:
            alive = before.written[index] > before.written[index].max() / 64
            assert np.allclose(after.written[index][alive], before.written[index].max(), rtol=1e-3)


def test_a_stage_of_v2_has_one_scale():
    network = fitted(V2)
    contents = find_contents(network)
    copies = [index for index, op in enumerate(network.ops) if op.kind == 'copy']
    for index in copies:
        assert contents.read[index] == contents.written[index]
    assert len(copies) == 13 and len({contents.written[index] for index in copies}) == 3
    assert contents.read[0] == FRAME and contents.written[-1] == HEAD


def test_units_of_v1_have_scales_of_their_own(v1):
    contents = find_contents(v1)
    residuals = [index for index, op in enumerate(v1.ops) if op.residual]
    assert residuals
    for index in residuals:
        assert contents.held[index] not in (FRAME, contents.written[index])
    for index, op in enumerate(v1.ops):
        if op.kind == 'depthwise' and np.ptp(op.weights) == 0:  # a shortcut beside its branch
            beside = [v1.ops[place].target == op.target and contents.written[place] == contents.written[index]
                      for place in (index - 1, index + 1)]
            assert any(beside)


def test_sums_beyond_float32_are_exact():
    count = 2048
    op = Op('pointwise', 0, 0, count, np.full((1, count), 127, np.int8), np.zeros(1, np.int32), NO_TABLE)
    x = np.full((count, 1, 1, 1), -127, np.float32)
    x[0] = -126
    assert int(sums(op, x, exact=True)[0, 0, 0, 0]) == -127 * (127 * (count - 1) + 126)
    assert int(sums(op, x, exact=True)[0, 0, 0, 0]) % 2 == 1  # float32 has no odd numbers there


def test_histogram_finds_the_limit_of_least_error():
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

    limit = histogram.best_limit(15)
    assert cost(limit) < 1.02 * min(cost(other) for other in np.linspace(1, values.max(), 60))
    assert limit < 0.9 * values.max()


@pytest.mark.parametrize('bad, text', [
    (np.zeros((0, 64, 96, 3), np.uint8), r'shape \[0, 64, 96, 3\], uint8: expected \[N, 64, 96, 3\] uint8'),
    (np.zeros((2, 96, 64, 3), np.uint8), r'shape \[2, 96, 64, 3\]'),
    (np.zeros((2, 64, 96, 3), np.float32), 'float32: expected .* uint8'),
    (np.zeros((64, 96, 3), np.uint8), r'shape \[64, 96, 3\]'),
])
def test_refuses_frames_that_do_not_fit(v1, bad, text):
    with pytest.raises(PackError, match=text):
        quantize(v1, bad)


def test_refuses_values_that_are_not_finite(v1):
    bias = v1.ops[1].bias.copy()
    bias[0] = np.inf
    broken = replace(v1, ops=(v1.ops[0], replace(v1.ops[1], bias=bias), *v1.ops[2:]))
    with pytest.raises(PackError, match='a pointwise operation gives inf on a calibration frame: expected'):
        quantize(broken, frames(v1))


def test_refuses_a_last_map_with_values_below_0(v1):
    signed = tuple(replace(op, relu=False) if op.target == v1.ops[-1].source else op for op in v1.ops)
    with pytest.raises(PackError, match='before the linear layer has values below 0'):
        quantize(replace(v1, ops=signed), frames(v1))


def test_refuses_scales_that_chase_each_other():
    """Two layers whose outputs stay small while their weights are huge, on maps that share a scale."""
    sizes = (Map(4, 4, 4), Map(2, 4, 4))
    table = np.arange(2, dtype=np.uint32)
    weights = np.array([[1e4, -1e4], [-1e4, 1e4]], np.float32)

    def layer(source, target, first, to):
        return Op('pointwise', source, target, 2, weights, np.ones(2, np.float32), to, first, relu=True)

    ops = (
        Op('stem', None, 1, 3, np.zeros((2, 3, 3, 3), np.float32), np.ones(2, np.float32), NO_TABLE, stride=2,
           relu=True),
        layer(1, 0, 0, table),
        layer(0, 1, 0, table),
        Op('copy', 1, 0, 2, np.zeros(0, np.float32), np.zeros(0, np.float32), table + 2),
        Op('pointwise', 0, 1, 4, np.zeros((2, 4), np.float32), np.ones(2, np.float32), table, relu=True),
        Op('head', 1, None, 2, np.ones((3, 2), np.float32), np.zeros(3, np.float32), NO_TABLE))
    network = Network('fp32', (8, 8), sizes, ops, '00' * 32)
    with pytest.raises(PackError, match='scales of maps still grow after 32 passes: expected weights'):
        quantize(network, np.zeros((2, 8, 8, 3), np.uint8))
