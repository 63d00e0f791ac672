# SPDX-License-Identifier: Apache-2.0
"""The initial weights of `train --init`: runs, imports, bundles; new heads; folded BN."""

import json
from dataclasses import asdict, replace

import pytest

torch = pytest.importorskip('torch')
pytest.importorskip('onnx')

import foreign_weights as foreign  # noqa: E402

from shufflenet_ros.bundles.errors import ModelError  # noqa: E402
from shufflenet_ros.bundles.onnx_write import save_bundle  # noqa: E402
from shufflenet_ros.cli.main import main  # noqa: E402
from shufflenet_ros.datasets.calibration import seeded_images  # noqa: E402
from shufflenet_ros.training.initialization import load_initial_model, recalibrate  # noqa: E402
from shufflenet_ros.zoo.errors import ZooError  # noqa: E402
from shufflenet_ros.zoo.export import make_card, to_onnx  # noqa: E402
from shufflenet_ros.zoo.normalization import IMAGENET, Normalization, normalize  # noqa: E402
from shufflenet_ros.zoo.registry import build, values_of  # noqa: E402
from shufflenet_ros.zoo.shufflenet_v1 import ShuffleNetV1Config  # noqa: E402

SMALL_MODEL = 'shufflenet_v1_x0_5_g3-tiny_imagenet-64'

LABELS = ('cup', 'door', 'cat')
SMALL = ShuffleNetV1Config(3, 0.25, classes=3)
BY = Normalization((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
V2_BACKBONE = 'shufflenet_v2_x0_5_backbone.pth'


def network(seed=0, config=SMALL):
    torch.manual_seed(seed)
    model = foreign.randomize_batch_norms(build(config))
    with torch.no_grad():
        model.fc.weight.normal_(0, 0.1)
        model.fc.bias.normal_()
    return model


def write_run(folder, model, *, ema=None, labels=LABELS, recipe_terms='theirs alone', **origin):
    """A checkpoint as the trainer leaves it."""
    folder.mkdir(exist_ok=True)
    state = {
        'recipe': json.dumps({'name': 'toys', 'terms': recipe_terms}), 'network': values_of(model.config),
        'labels': list(labels), 'normalization': asdict(BY), 'origin': {'source': '', 'terms': ''} | origin,
        'model': model.state_dict(), 'ema': ema and ema.state_dict(), 'optimizer': {}, 'epoch': 5, 'step': 0,
        'partial': {}, 'history': [],
    }
    torch.save(state, folder / 'checkpoint.pt')
    return str(folder)


def images(count=8, px=64):
    return torch.stack([torch.from_numpy(image.pixels) for image in seeded_images((px, px), count)])


@torch.no_grad()
def logits(model, x):
    return model.eval()(x)


def test_a_run_keeps_its_weights_for_the_same_labels(tmp_path):
    model, x = network(), torch.randn(4, 3, 64, 64)
    init = write_run(tmp_path / 'run', model, source='a download', terms='research')
    start = load_initial_model(init, LABELS)
    assert torch.equal(logits(start.model, x), logits(model, x)) and start.model.config == SMALL
    assert start.by == BY and not start.new_head and not start.bn_folded
    assert start.source == 'run of toys, 5 epochs; a download' and start.terms == 'theirs alone; research'


def test_the_averaged_weights_of_a_run_come_before_its_last_ones(tmp_path):
    last, averaged, x = network(0), network(1), torch.randn(4, 3, 64, 64)
    start = load_initial_model(write_run(tmp_path / 'run', last, ema=averaged), LABELS)
    assert torch.equal(logits(start.model, x), logits(averaged, x))


def test_the_same_labels_in_another_order_keep_their_rows(tmp_path):
    model, x = network(), torch.randn(4, 3, 64, 64)
    start = load_initial_model(write_run(tmp_path / 'run', model), ('cat', 'cup', 'door'))
    assert not start.new_head
    assert torch.allclose(logits(start.model, x), logits(model, x)[:, [2, 0, 1]], atol=1e-5)


@pytest.mark.parametrize('old, new', [
    (LABELS, ('cup', 'door', 'dog')), (LABELS, LABELS[:2]),
    (('crane', 'crane', 'cat'), ('crane', 'cat', 'crane'))])
def test_other_labels_get_a_new_head_on_the_same_backbone(old, new, tmp_path):
    model, x = network(), torch.randn(4, 3, 64, 64)
    init = write_run(tmp_path / 'run', model, labels=old)
    torch.manual_seed(3)
    start = load_initial_model(init, new)
    assert start.new_head and start.model.config == replace(SMALL, classes=len(new))
    assert torch.equal(start.model.embed(x), model.embed(x))
    weight = start.model.fc.weight
    assert 0.008 < float(weight.detach().std()) < 0.012 and not start.model.fc.bias.any()
    torch.manual_seed(3)
    assert torch.equal(load_initial_model(init, new).model.fc.weight, weight)
    torch.manual_seed(4)
    assert not torch.equal(load_initial_model(init, new).model.fc.weight, weight)


def test_a_backbone_without_head_is_imported_and_started_from(shared_data, tmp_path):
    path = tmp_path / 'backbone.pt'
    assert main(['models', 'import', str(shared_data / V2_BACKBONE), '-o', str(path), '--source', 'somebody',
                 '--terms', 'of ImageNet', '--license', 'BSD-3-Clause']) == 0
    imported = torch.load(path, weights_only=True)['model']
    start = load_initial_model(str(path), LABELS)
    state = start.model.state_dict()
    assert start.new_head and start.model.config.classes == 3 and not start.bn_folded
    assert all(torch.equal(state[key], tensor) for key, tensor in imported.items())
    assert {key.split('.')[0] for key in state.keys() - imported.keys()} <= {'fc', 'last'}
    assert 'of ImageNet' in start.terms and 'BSD-3-Clause' in start.terms and 'somebody' in start.source
    assert not any(str(tmp_path) in text for text in (start.source, start.terms))


def bundle(tmp_path, model, **fields):
    path = tmp_path / 'toys.onnx'
    save_bundle(to_onnx(model, 64), make_card(model, 'toys', LABELS, 64, **fields), path)
    return str(path)


def test_a_bundle_reports_that_its_bn_is_folded(tmp_path):
    model = network()
    init = bundle(tmp_path, model, training={'data': 'toys', 'terms': 'for play'}, license='MIT', source='us')
    start, frames = load_initial_model(init, LABELS), images()
    expected = logits(model, normalize(frames, IMAGENET))
    assert foreign.relative(logits(start.model, normalize(frames, start.by)), expected) <= 1e-4
    assert start.bn_folded and not start.new_head
    assert (start.source, start.terms) == ('toys; us', 'for play; MIT')
    other = load_initial_model(init, ('left', 'right'))
    assert other.new_head and other.model.fc.out_features == 2


def test_missing_terms_are_reported_as_unknown(tmp_path):
    assert load_initial_model(bundle(tmp_path, network()), LABELS).terms == 'unknown for toys'


def test_the_shipped_model_is_started_from_by_name():
    start = load_initial_model(SMALL_MODEL, LABELS)
    assert start.new_head and start.bn_folded and 'ImageNet' in start.terms


def correlation(a, b):
    return float(torch.corrcoef(torch.stack((a.flatten(), b.flatten())))[0, 1])


@torch.no_grad()
def test_recalibration_keeps_the_outputs_and_makes_training_mode_agree():
    x = normalize(images(160))
    model = load_initial_model(SMALL_MODEL, LABELS).model
    before = model.eval().embed(x)
    trained_before = model.train().embed(x)
    model = load_initial_model(SMALL_MODEL, LABELS).model
    recalibrate(model, x.split(64))  # batches of 64, 64 and 32 images
    after = model.eval().embed(x)
    assert foreign.relative(after, before) <= 1e-4
    trained = model.train().embed(x)
    print(f'training mode against evaluation: {correlation(trained_before, before):.3f} with neutral '
          f'statistics, {correlation(trained, after):.5f} recalibrated')
    assert correlation(trained, after) > 0.99 > 0.9 > correlation(trained_before, before)


@torch.no_grad()
def test_recalibration_keeps_constant_channels():
    model = network()
    for norm in (m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)):
        norm.running_mean.zero_()
        norm.running_var.fill_(1)
    model.stem[0].weight[0] = 0  # a channel of zeros
    model.stem[1].bias[0] = 3
    x = torch.randn(32, 3, 64, 64)
    before = logits(model, x)
    recalibrate(model, [x])
    assert not model.training and float(model.stem[1].running_var[0]) == 0
    assert all(tensor.isfinite().all() for tensor in model.state_dict().values())
    assert foreign.relative(logits(model, x), before) <= 1e-4
    assert correlation(model.train()(x), before) > 0.99


@torch.no_grad()
def test_uneven_batches_give_the_statistics_of_all_images():
    one, many = network(), network()
    x = torch.randn(24, 3, 64, 64) + torch.arange(24)[:, None, None, None] / 8  # ever brighter
    recalibrate(one, [x])
    recalibrate(many, x.split((3, 20, 1)))
    for whole, split in zip(one.state_dict().values(), many.state_dict().values()):
        assert torch.allclose(whole, split, rtol=1e-3, atol=1e-5)


def test_recalibration_without_images_is_rejected():
    with pytest.raises(ZooError, match='at least one batch'):
        recalibrate(network(), [])


def damaged(folder, **changes):
    state = torch.load(folder / 'checkpoint.pt', weights_only=True) | changes
    torch.save({key: value for key, value in state.items() if value is not None}, folder / 'checkpoint.pt')
    return str(folder)


@pytest.mark.parametrize('changes, expected', [
    ({'network': None}, "KeyError 'network'"),
    ({'labels': ['cup']}, '3 rows for 1 labels'),
    ({'model': {'stem.0.weight': torch.zeros(12, 3, 3, 3)}}, 'lacks'),
    ({'network': {'groups': 3, 'width': 0.5}}, 'do not fit its network'),
    ({'network': {'groups': 'three'}}, 'no network can be built from it'),
    ({'normalization': {'mean': [0, 0, 0]}}, "KeyError 'std'"),
])
def test_damaged_checkpoints_are_rejected(changes, expected, tmp_path):
    write_run(tmp_path / 'run', network())
    with pytest.raises(ZooError, match=expected):
        load_initial_model(damaged(tmp_path / 'run', **changes), LABELS)


def test_weights_that_are_not_finite_are_rejected(tmp_path):
    model = network()
    model.fc.bias.data[1] = float('nan')
    with pytest.raises(ZooError, match=r'fc\.bias holds values that are not finite'):
        load_initial_model(write_run(tmp_path / 'run', model), LABELS)


def test_bad_initial_weights_are_rejected_with_a_remedy(tmp_path):
    with pytest.raises(ZooError, match='without weights.*network: shufflenet_v1_x0_5_g3'):
        load_initial_model('shufflenet_v1_x0_5_g3', LABELS)
    with pytest.raises(ZooError, match=r'models import theirs\.pth\.zip -o theirs\.pt'):
        load_initial_model('theirs.pth.zip', LABELS)
    with pytest.raises(ModelError, match='no_such_bundle'):
        load_initial_model('no_such_bundle', LABELS)
    with pytest.raises(ModelError, match='checkpoint.pt'):
        load_initial_model(str(tmp_path), LABELS)
    (tmp_path / 'checkpoint.pt').write_bytes(b'no checkpoint')
    with pytest.raises(ZooError, match='is not a checkpoint of plain tensors'):
        load_initial_model(str(tmp_path), LABELS)


def test_the_recipes_network_must_be_that_of_the_weights(tmp_path):
    init = write_run(tmp_path / 'run', network())
    assert load_initial_model(init, LABELS, 'shufflenet_v1_x0_25_g3').model.config == SMALL
    assert load_initial_model(init, LABELS, {'groups': 3, 'width': 0.25}).model.config == SMALL
    with pytest.raises(ZooError, match=r"'width': 0\.25.*recipe specifies.*'shufflenet_v2'"):
        load_initial_model(init, LABELS, 'shufflenet_v2_x0_5')
    with pytest.raises(ZooError, match=r"recipe specifies.*'stem_pool': False"):
        load_initial_model(init, LABELS, {'groups': 3, 'width': 0.25, 'stem_pool': False})


@torch.no_grad()
def test_a_wider_network_is_grown_from_the_weights(tmp_path):
    model, x = network(), torch.randn(16, 3, 64, 64)
    init = write_run(tmp_path / 'run', model)
    torch.manual_seed(0)
    start = load_initial_model(init, LABELS, 'shufflenet_v1_x0_5_g3')
    assert start.model.config == replace(SMALL, width=0.5) and not start.new_head and start.by == BY
    assert correlation(logits(start.model, x), logits(model, x)) > 0.99
    other = load_initial_model(init, ('left', 'right'), 'shufflenet_v1_x0_5_g3')
    assert other.new_head and 0.008 < float(other.model.fc.weight.std()) < 0.012
    assert correlation(other.model.embed(x).mean(0), start.model.embed(x).mean(0)) > 0.99


@torch.no_grad()
def test_a_bundle_is_grown_and_then_recalibrated():
    x = normalize(images(64))
    before = load_initial_model(SMALL_MODEL, LABELS).model.embed(x)
    start = load_initial_model(SMALL_MODEL, LABELS, {'groups': 3, 'width': 1.0, 'stem_pool': False})
    assert start.bn_folded and start.model.embedding_dim == 960
    wide = start.model.embed(x)
    assert correlation(torch.cat((before, before), 1).sort().values, wide.sort().values) > 0.99
    recalibrate(start.model, [x])
    assert foreign.relative(start.model.embed(x), wide) <= 1e-4
    assert correlation(start.model.train().embed(x), wide) > 0.99


def test_an_inexact_growth_is_rejected(tmp_path):
    init = write_run(tmp_path / 'run', network(config=ShuffleNetV1Config(8, 0.25, classes=3)))
    with pytest.raises(ZooError, match='cannot be grown from 24 to 48'):
        load_initial_model(init, LABELS, 'shufflenet_v1_x0_5_g8')
