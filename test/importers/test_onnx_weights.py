# SPDX-License-Identifier: Apache-2.0
"""Weights of ONNX graphs: our bundles, other float exports, the ONNX zoo's int8 file."""

import json
from dataclasses import replace

import cv2
import pytest

torch = pytest.importorskip('torch')
import foreign_weights as foreign  # noqa: E402

onnx = pytest.importorskip('onnx')

from shufflenet_ros.backends.load import load  # noqa: E402
from shufflenet_ros.bundles import bundle as bundles  # noqa: E402
from shufflenet_ros.bundles.onnx_write import save_bundle  # noqa: E402
from shufflenet_ros.cli.main import main  # noqa: E402
from shufflenet_ros.core.card import Card, CardInput  # noqa: E402
from shufflenet_ros.core.classifier import Classifier  # noqa: E402
from shufflenet_ros.core.frame import DecodedImage, Options  # noqa: E402
from shufflenet_ros.datasets.calibration import seeded_images  # noqa: E402
from shufflenet_ros.importers.layouts import BYTES  # noqa: E402
from shufflenet_ros.importers.onnx_weights import import_onnx_weights  # noqa: E402
from shufflenet_ros.zoo.errors import ZooError  # noqa: E402
from shufflenet_ros.zoo.export import make_card, to_onnx  # noqa: E402
from shufflenet_ros.zoo.normalization import IMAGENET, normalize  # noqa: E402
from shufflenet_ros.zoo.registry import build, name_of  # noqa: E402
from shufflenet_ros.zoo.shufflenet_v1 import ShuffleNetV1Config  # noqa: E402
from shufflenet_ros.zoo.shufflenet_v2 import BasicUnit, DownsamplingUnit, ShuffleNetV2Config  # noqa: E402

pytestmark = pytest.mark.filterwarnings('ignore::torch.jit.TracerWarning', 'ignore::DeprecationWarning')
LABELS = [f'thing_{i}' for i in range(foreign.CLASSES)]
INT8 = 'shufflenet_v2_x1_0_int8.onnx'


def network(config):
    torch.manual_seed(4)
    model = foreign.randomize_batch_norms(build(replace(config, classes=foreign.CLASSES)))
    with torch.no_grad():
        for parameter in (model.fc.weight, model.fc.bias):
            parameter.normal_()
    return model


def opened(path):
    """The bundle as if an index listed it: without the subprocess, which the tests of the verb run."""
    return replace(bundles.open_bundle(str(path)), trusted=True)


@pytest.mark.parametrize('config, by', [
    (ShuffleNetV1Config(8, 0.25, shortcut_first=True, shuffle_inverse=True), BYTES),
    (ShuffleNetV1Config(3, 0.25, shortcut_first=True, bare_stem=True), IMAGENET),
    (ShuffleNetV1Config(3, 0.25, se=True, repeats=(2, 4, 2)), IMAGENET),
    (ShuffleNetV2Config(0.5, megvii=True, ceil_pool=True), IMAGENET),
])
@torch.no_grad()
def test_our_bundle_gives_its_network_back(config, by, tmp_path):
    model, path = network(config), tmp_path / 'm.onnx'
    save_bundle(to_onnx(model, 64, by), make_card(model, 'm', LABELS, 64), path)
    imported, agreement = import_onnx_weights(opened(path))
    assert imported.model.config == model.config and agreement.relative <= 1e-4 and agreement.top1 == 1
    for image in seeded_images((64, 64), 8):
        frame = torch.from_numpy(image.pixels)[None]
        expected = model(normalize(frame, by))
        assert foreign.relative(imported.model(normalize(frame, imported.normalization)), expected) <= 1e-4
    if by is IMAGENET:  # then the input is as in training
        assert imported.normalization == IMAGENET


def chunked(module, x):
    """A unit's forward pass as torchvision writes it: chunk, and shapes read at run time."""
    if isinstance(module, DownsamplingUnit):
        left, right = module.branch1(x), module.branch2(x)
    else:
        left, right = x.chunk(2, 1)
        right = module.branch2(right)
    y = torch.cat((left, right), 1)
    n, c, h, w = y.size()
    return y.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, -1, h, w)


def export_float(model, path, *, opset=10, folded=True, style='split'):
    if style == 'chunk':
        for module in model.modules():
            if isinstance(module, (BasicUnit, DownsamplingUnit)):
                module.forward = lambda x, module=module: chunked(module, x)
    mode = torch.onnx.TrainingMode.EVAL if folded else torch.onnx.TrainingMode.PRESERVE
    torch.onnx.export(model.eval(), (torch.zeros(1, 3, 64, 64),), path, opset_version=opset, dynamo=False,
                      training=mode, do_constant_folding=folded,
                      dynamic_axes={'input': {0: 'n'}} if style == 'chunk' else None, input_names=['input'])


@pytest.mark.parametrize('folded, style, opset', [
    (True, 'split', 10), (False, 'split', 17), (False, 'chunk', 11)])
def test_a_float_export_is_read_with_and_without_batch_norms(folded, style, opset, tmp_path):
    model, path = network(ShuffleNetV2Config(0.5)), tmp_path / 'theirs.onnx'
    export_float(model, path, folded=folded, style=style, opset=opset)
    proto = onnx.load(path)
    kinds = {node.op_type for node in proto.graph.node}
    assert ('BatchNormalization' in kinds) is not folded and ('Shape' in kinds) is (style == 'chunk')
    spec = CardInput(layout='NCHW', dtype='float32', size=(64, 64), color='bgr', scale=1 / 255,
                     mean=(0.1, 0.2, 0.3), std=(0.2, 0.3, 0.4))
    card = Card('theirs', 'unknown', tuple(LABELS), spec, {'logits': proto.graph.output[0].name})
    (tmp_path / 'theirs.onnx.card.json').write_text(card.to_json())
    imported, agreement = import_onnx_weights(opened(path))
    assert agreement.relative <= 1e-4 and imported.model.config == model.config
    # their blue is first, ours last
    assert imported.normalization.mean == pytest.approx((0.3, 0.2, 0.1))
    assert imported.normalization.std == pytest.approx((0.4, 0.3, 0.2))
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert foreign.relative(imported.model(x), network(ShuffleNetV2Config(0.5))(x.flip(1))) <= 1e-4


@pytest.mark.parametrize('config, out, status', [
    (ShuffleNetV2Config(0.5), 'ours.onnx', 0), (ShuffleNetV1Config(3, 0.25), 'ours.pt', 0),
    (ShuffleNetV1Config(3, 0.25, shortcut_first=True), 'ours.pt', 2)])
def test_a_float_export_without_card_is_recognized_by_shapes(config, out, status, tmp_path, capsys):
    source, labels = tmp_path / 'theirs.onnx', tmp_path / 'labels.txt'
    export_float(network(config), source)
    labels.write_text('\n'.join(LABELS))
    command = ['models', 'import', str(source), '-o', str(tmp_path / out), '--labels', str(labels)]
    assert main(command) == status
    stdout, stderr = capsys.readouterr()
    if status:
        assert 'wired differently' in stderr
        return
    report = json.loads(stdout)
    assert report['network'] == name_of(config) and report['agreement']['relative'] <= 1e-4
    if out == 'ours.onnx':
        card = bundles.open_bundle(str(tmp_path / out)).card
        assert card.labels == tuple(LABELS) and card.input.size == (64, 64) and card.input.crop == 0.875


@pytest.fixture(scope='module')
def int8_as_float(shared_data, tmp_path_factory):
    """The int8 file imported and exported again, and the command's report."""
    out = tmp_path_factory.mktemp('int8') / 'float.onnx'
    return out, main(['models', 'import', str(shared_data / INT8), '-o', str(out)])


def first_classes(model, shared_data):
    """Photo -> predicted class, and how many are right."""
    loaded, photos = load(str(model)), shared_data / 'photos'
    classifier = Classifier(loaded.card, loaded.backend)
    labels = json.loads((photos / 'labels.json').read_text())
    images = {name: DecodedImage(cv2.imread(str(photos / name)), 'bgr') for name in labels}
    given = {name: classifier.classify_image(image, Options(top_k=1)).predictions[0].index
             for name, image in images.items()}
    return given, sum(given[name] == label['imagenet_index'] for name, label in labels.items())


def test_the_int8_model_as_float_classifies_as_many_photos(int8_as_float, shared_data):
    out, status = int8_as_float
    assert status == 0
    original, original_right = first_classes(shared_data / INT8, shared_data)
    ours, ours_right = first_classes(out, shared_data)
    agree = sum(original[name] == ours[name] for name in original)
    print(f'of {len(original)} photos right: int8 {original_right}, float {ours_right}; alike: {agree}')
    assert len(original) == 40 and original_right == 33 and abs(ours_right - original_right) <= 1
    assert agree >= 36


def test_the_int8_models_card_is_carried_on(int8_as_float, shared_data):
    card = load(str(int8_as_float[0])).card
    assert card.network == 'shufflenet_v2_x1_0' and dict(card.network_config) == {'family': 'shufflenet_v2'}
    assert card.cost == {'params': 2278604, 'macs': 144907992}
    assert 'non-commercial' in card.training['terms'] and 'BSD-3' in card.license
    assert 'bf5eefde67941aa7eaa7787316c9c52c4b04e07fc9587a6ea7028883be9a8d4e' in card.source


def test_an_int8_graph_that_no_network_computes(shared_data, tmp_path):
    card = bundles.open_bundle(str(shared_data / INT8)).card
    proto = onnx.load(shared_data / INT8)
    # the first stride-1 unit then transforms the half that it should keep
    split = next(node for node in proto.graph.node if node.op_type == 'Split')
    first, second = split.output
    split.output[:] = [second, first]
    path = tmp_path / 'm.onnx'
    onnx.save(proto, path)
    (tmp_path / 'm.onnx.card.json').write_text(replace(card, golden=None).to_json())
    with pytest.raises(ZooError, match='logits correlate.*wired differently'):
        import_onnx_weights(opened(path))


@pytest.mark.parametrize('cards_network, message', [
    ({'family': 'shufflenet_v2', 'width': 1.0}, 'has shape, stride and groups'),
    ({'family': 'shufflenet_v1'}, 'has 56 convolutions: expected 49'),
])
def test_another_network_than_the_cards(cards_network, message, tmp_path):
    model, path = network(ShuffleNetV2Config(0.5)), tmp_path / 'm.onnx'
    card = replace(make_card(model, 'm', LABELS, 64), network_config=cards_network)
    save_bundle(to_onnx(model, 64), card, path)
    with pytest.raises(ZooError, match=message):
        import_onnx_weights(opened(path))


def test_bytes_that_are_not_onnx(tmp_path, capsys):
    path = tmp_path / 'm.onnx'
    for content in (b'not a model', b'\x08\x07' * 40):
        path.write_bytes(content)
        assert main(['models', 'import', str(path), '-o', str(tmp_path / 'out.onnx')]) == 2
        assert 'expected' in capsys.readouterr().err
    assert not (tmp_path / 'out.onnx').exists()
