# SPDX-License-Identifier: Apache-2.0
"""The initial weights of `train --init`: runs, imports, bundles; new heads; folded BN."""

import copy
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


def write_run(folder, trained, /, **changes):
    """A checkpoint as the trainer writes it, with some changes; None removes a field."""
    state = {
        'recipe': json.dumps({'name': 'toys', 'terms': 'theirs alone'}), 'network': values_of(trained.config),
        'labels': list(LABELS), 'normalization': asdict(BY), 'origin': {'source': '', 'terms': ''},
        'model': trained.state_dict(), 'ema': {}, 'optimizer': {}, 'epoch': 5, 'step': 0, 'partial': {},
        'history': [],
    } | changes
    folder.mkdir()
    torch.save({key: value for key, value in state.items() if value is not None}, folder / 'checkpoint.pt')
    return str(folder)


def images(count=8, px=64):
    return torch.stack([torch.from_numpy(image.pixels) for image in seeded_images((px, px), count)])


@torch.no_grad()
def logits(model, x):
    return model.eval()(x)


def test_a_run_keeps_its_weights_for_the_same_labels(tmp_path):
    model, x = network(), torch.randn(4, 3, 64, 64)
    origin = {'source': 'a download', 'terms': 'research'}
    init = write_run(tmp_path / 'run', model, origin=origin)
    start = load_initial_model(init, LABELS)
    assert torch.equal(logits(start.model, x), logits(model, x)) and start.model.config == SMALL
    assert start.normalization == BY and not start.random and not start.bn_folded
    assert start.source == 'run of toys, 5 epochs; a download' and start.terms == 'theirs alone; research'


def test_the_averaged_weights_of_a_run_come_before_its_last_ones(tmp_path):
    last, averaged, x = network(0), network(1), torch.randn(4, 3, 64, 64)
    start = load_initial_model(write_run(tmp_path / 'run', last, ema=averaged.state_dict()), LABELS)
    assert torch.equal(logits(start.model, x), logits(averaged, x))


def test_the_same_labels_in_another_order_keep_their_rows(tmp_path):
    model, x = network(), torch.randn(4, 3, 64, 64)
    start = load_initial_model(write_run(tmp_path / 'run', model), ('cat', 'cup', 'door'))
    assert not start.random
    assert torch.allclose(logits(start.model, x), logits(model, x)[:, [2, 0, 1]], atol=1e-5)


@pytest.mark.parametrize('old, new', [
    (LABELS, ('cup', 'door', 'dog')), (LABELS, LABELS[:2]),
    (('crane', 'crane', 'cat'), ('crane', 'cat', 'crane'))])
def test_other_labels_get_a_new_head_on_the_same_backbone(old, new, tmp_path):
    model, x = network(), torch.randn(4, 3, 64, 64)
    init = write_run(tmp_path / 'run', model, labels=list(old))
    torch.manual_seed(3)
    start = load_initial_model(init, new)
    assert start.random == ('fc',) and start.model.config == replace(SMALL, classes=len(new))
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
    assert start.random == ('fc', 'last') and start.model.config.classes == 3 and not start.bn_folded
    assert all(torch.equal(state[key], tensor) for key, tensor in imported.items())
    assert {key.split('.')[0] for key in state.keys() - imported.keys()} <= {'fc', 'last'}
    assert 'of ImageNet' in start.terms and 'BSD-3-Clause' in start.terms and 'somebody' in start.source
    assert not any(str(tmp_path) in text for text in (start.source, start.terms))


@pytest.fixture(scope='module')
def exported():
    """A network and its graph; exporting takes seconds."""
    model = network()
    return model, to_onnx(model, 64)


@pytest.fixture(scope='module')
def shipped():
    """The initial model from the shipped bundle; a test that changes it copies it."""
    return load_initial_model(SMALL_MODEL, LABELS)


def write_bundle(path, exported, **fields):
    model, graph = exported
    save_bundle(graph, make_card(model, 'toys', LABELS, 64, **fields), path)
    return str(path)


def test_a_bundle_reports_that_its_bn_is_folded(exported, tmp_path):
    init = write_bundle(tmp_path / 'toys.onnx', exported, training={'data': 'toys', 'terms': 'for play'},
                        license='MIT', source='us')
    start, x = load_initial_model(init, LABELS), images()
    expected = logits(exported[0], normalize(x, IMAGENET))
    assert foreign.relative(logits(start.model, normalize(x, start.normalization)), expected) <= 1e-4
    assert start.bn_folded and not start.random
    assert (start.source, start.terms) == ('toys; us', 'for play; MIT')
    other = load_initial_model(write_bundle(tmp_path / 'other.onnx', exported), ('left', 'right'))
    assert other.random == ('fc',) and other.model.fc.out_features == 2
    assert other.terms == 'unknown for toys'


def correlation(a, b):
    return float(torch.corrcoef(torch.stack((a.flatten(), b.flatten())))[0, 1])


@torch.no_grad()
def test_recalibration_keeps_the_outputs_and_makes_training_mode_agree(shipped):
    x, model = normalize(images(80, 48)), copy.deepcopy(shipped.model)
    before = shipped.model.embed(x)
    trained_before = copy.deepcopy(model).train().embed(x)
    recalibrate(model, x.split(32))  # batches of 32, 32 and 16 images
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


@pytest.mark.parametrize('changes, expected', [
    ({'network': None}, "KeyError 'network'"),
    ({'labels': ['cup']}, '3 rows for 1 labels'),
    ({'model': {'stem.0.weight': torch.zeros(12, 3, 3, 3)}}, 'lacks'),
    ({'network': {'groups': 3, 'width': 0.5}}, 'do not fit its network'),
    ({'network': {'groups': 'three'}}, 'no network can be built from it'),
    ({'normalization': {'mean': [0, 0, 0]}}, "KeyError 'std'"),
    ({'model': {'fc.bias': torch.tensor([0, float('nan')])}}, r'fc\.bias holds values that are not finite'),
])
def test_damaged_checkpoints_are_rejected(changes, expected, tmp_path):
    write_run(tmp_path / 'run', network(), **changes)
    with pytest.raises(ZooError, match=expected):
        load_initial_model(str(tmp_path / 'run'), LABELS)


def test_bad_initial_weights_are_rejected_with_a_remedy(tmp_path):
    (tmp_path / 'bad').mkdir()
    (tmp_path / 'bad' / 'checkpoint.pt').write_bytes(b'no checkpoint')
    torch.save([1], tmp_path / 'list.pt')
    for init, expected in (
            ('shufflenet_v1_x0_5_g3', 'without weights.*network: shufflenet_v1_x0_5_g3'),
            ('theirs.pth.zip', r'models import theirs\.pth\.zip -o theirs\.pt'),
            (str(tmp_path), 'checkpoint.pt cannot be read .FileNotFoundError'),
            (str(tmp_path / 'bad'), 'expected a checkpoint of plain tensors.*; train or import it again'),
            (str(tmp_path / 'list.pt'), 'it is a list')):
        with pytest.raises(ZooError, match=expected):
            load_initial_model(init, LABELS)
    with pytest.raises(ModelError, match='no_such_bundle'):
        load_initial_model('no_such_bundle', LABELS)


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
    assert start.model.config == replace(SMALL, width=0.5) and not start.random and start.normalization == BY
    assert correlation(logits(start.model, x), logits(model, x)) > 0.99
    other = load_initial_model(init, ('left', 'right'), 'shufflenet_v1_x0_5_g3')
    assert other.random == ('fc',) and 0.008 < float(other.model.fc.weight.std()) < 0.012
    assert correlation(other.model.embed(x).mean(0), start.model.embed(x).mean(0)) > 0.99


@torch.no_grad()
def test_a_bundle_is_grown_and_then_recalibrated(shipped):
    x = normalize(images(24, 48))
    before = shipped.model.embed(x)
    start = load_initial_model(SMALL_MODEL, LABELS, {'groups': 3, 'width': 1.0, 'stem_pool': False})
    assert start.bn_folded and start.model.embedding_dim == 960
    assert shipped.random == start.random == ('fc',) and 'ImageNet' in start.terms
    wide = start.model.embed(x)
    assert correlation(torch.cat((before, before), 1).sort().values, wide.sort().values) > 0.99
    recalibrate(start.model, [x])
    assert foreign.relative(start.model.embed(x), wide) <= 1e-4
    assert correlation(start.model.train().embed(x), wide) > 0.99


def test_an_inexact_growth_is_rejected(tmp_path):
    init = write_run(tmp_path / 'run', network(config=ShuffleNetV1Config(8, 0.25, classes=3)))
    with pytest.raises(ZooError, match='cannot be grown from 24 to 48'):
        load_initial_model(init, LABELS, 'shufflenet_v1_x0_5_g8')
