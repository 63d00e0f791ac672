# SPDX-License-Identifier: Apache-2.0
"""Export: the bundle computes what the network computes, and its card is complete."""

import copy
import json
import shlex
import shutil
from collections import Counter

import numpy as np
import pytest
from training_set import write_set

torch = pytest.importorskip('torch')
onnx = pytest.importorskip('onnx')

from shufflenet_ros.backends.ort import OnnxRuntimeBackend  # noqa: E402
from shufflenet_ros.bundles.bundle import open_bundle  # noqa: E402
from shufflenet_ros.bundles.index import read_index  # noqa: E402
from shufflenet_ros.bundles.variants import resolve  # noqa: E402
from shufflenet_ros.cli.main import main  # noqa: E402
from shufflenet_ros.cli.train import LEARNED_NOTHING  # noqa: E402
from shufflenet_ros.core.classifier import Classifier  # noqa: E402
from shufflenet_ros.core.frame import DecodedImage, Options  # noqa: E402
from shufflenet_ros.zoo.errors import ZooError  # noqa: E402
from shufflenet_ros.zoo.export import check_parity, export, make_card  # noqa: E402
from shufflenet_ros.zoo.normalization import normalize  # noqa: E402
from shufflenet_ros.zoo.registry import build, name_of  # noqa: E402
from shufflenet_ros.zoo.shufflenet_v1 import ShuffleNetV1Config  # noqa: E402

SMALL_MODEL = 'shufflenet_v1_x0_5_g3-tiny_imagenet-64'
TINY = '{groups: 3, width: 0.25, repeats: [1, 1, 1]}'
LABELS = [f'thing_{i}' for i in range(10)]


@pytest.fixture(scope='module', params=[1, 2, 3, 4, 8], ids='g{}'.format)
def exported(request, tmp_path_factory):
    """A network, its bundle, and how far they are from each other."""
    torch.manual_seed(request.param)
    model = build(ShuffleNetV1Config(request.param, 0.25, classes=10)).train()
    with torch.no_grad():  # BN statistics that are not 0 and 1
        model(torch.randn(8, 3, 64, 64))
    path = tmp_path_factory.mktemp('exported') / 'm.onnx'
    return model, path, export(model, make_card(model, 'm', LABELS, 64), path)


def backend_of(path):
    return OnnxRuntimeBackend(resolve(open_bundle(str(path))))


@torch.no_grad()
def test_bundle_equals_the_network(exported):
    model, path, parity = exported
    assert max(parity.logits, parity.embedding) <= 1e-4
    card = open_bundle(str(path)).card
    assert card.network == name_of(model.config) and card.labels == tuple(LABELS) and card.golden is not None
    frame = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    options = Options(top_k=10, l2_normalize=False)
    result = Classifier(card, backend_of(path)).classify_image(DecodedImage(frame, 'rgb'), options)
    x = normalize(torch.from_numpy(frame)[None])
    expected, embedding = model(x).softmax(1)[0].numpy(), model.embed(x)[0].numpy()
    scores = {prediction.index: prediction.score for prediction in result.predictions}
    assert scores == pytest.approx(dict(enumerate(expected)), abs=1e-5)
    assert np.allclose(result.embedding, embedding, rtol=1e-3, atol=1e-4 * np.abs(embedding).max())


def test_files_stay_readable_for_the_oldest_runtime_and_one_group_has_no_transpose(exported):
    model, path, _ = exported
    proto = onnx.load(path)
    assert proto.ir_version <= 8 and proto.opset_import[0].version <= 17
    kinds = Counter(node.op_type for node in proto.graph.node)
    assert kinds['BatchNormalization'] == 0
    # NHWC to NCHW of the frame, and a shuffle in each unit
    assert kinds['Transpose'] == (1 if model.config.groups == 1 else 17)


def test_a_graph_that_differs_is_rejected(exported):
    model, path, _ = exported
    changed = copy.deepcopy(model)
    with torch.no_grad():
        changed.fc.weight *= 1.01
    with pytest.raises(ZooError, match='differs from the network'):
        check_parity(changed, backend_of(path), 64, samples=2)


def test_export_verb_scores_the_file_and_indexes_it(tmp_path, capsys):
    tar = write_set(tmp_path / 'tiny.tar')
    (tmp_path / 'tiny.yaml').write_text(
        f'name: tiny\nnetwork: {TINY}\npx: 32\nepochs: 1\nbatch: 36\nlearning_rate: 0.003\n'
        'warmup_epochs: 0.5\nema: 0.5\ndata: three colors\nterms: none needed\n')
    run, out = tmp_path / 'run', tmp_path / 'models'
    recipe = str(tmp_path / 'tiny.yaml')
    train = ['train', '--recipe', recipe, '--data', str(tar)]
    export_it = ['export', '--run', str(run), '--out', str(out), '--data', str(tar)]
    assert main([*train, '--out', str(run)]) == LEARNED_NOTHING, '2 steps from random weights'
    assert 'ERROR: tiny has learned nothing: its recall on' in (message := capsys.readouterr().err)
    assert main(export_it) == 2 and not out.exists()
    assert f'--run {run}: has learned nothing: its recall on' in capsys.readouterr().err
    assert main([*export_it, '--force']) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    trained = json.loads((run / 'log.jsonl').read_text().splitlines()[-1])
    assert report['top1'] == pytest.approx(trained['val_top1'], abs=0.05) and report['images'] == 24
    card = open_bundle(str(out / 'tiny.onnx')).card
    assert card.metrics['top1'] == report['top1'] and card.training['terms'] == 'none needed'
    assert card.training['data'] == 'three colors'
    assert card.source == 'trained by shufflenet_ros from random weights'
    assert set(read_index(out)) == {'tiny'}
    assert main(['export', '--run', str(tmp_path / 'nowhere'), '--out', str(out)]) == 2
    assert 'expected the folder of a run' in capsys.readouterr().err
    # With what `train` suggested, it learns.
    assert main([*train, '--out', str(run), *shlex.split(message.split('to the same command: ')[1])]) == 0
    assert main(['export', '--run', f'{run}-again', '--out', str(out)]) == 0


def test_weights_inherit_terms_and_a_folder_is_scored_on_what_was_held_out(tmp_path, capsys):
    tar = write_set(tmp_path / 'tiny.tar', train=20, val=2)
    shutil.unpack_archive(tar, tmp_path)
    recipe = 'name: tiny\npx: 32\nepochs: 1\nbatch: 12\nwarmup_epochs: 0.5\nlearning_rate: 0.01\n'
    (tmp_path / 'tiny.yaml').write_text(recipe)
    (tmp_path / 'whole.yaml').write_text(f'{recipe}network: {TINY}\n')
    out, common = tmp_path / 'models', ['--data', str(tmp_path / 'train')]
    assert main(['train', '--recipe', str(tmp_path / 'tiny.yaml'), *common, '--out', str(tmp_path / 'run'),
                 '--init', SMALL_MODEL]) == 0
    assert main(['export', '--run', str(tmp_path / 'run'), '--out', str(out), *common, '--terms', 'mine',
                 '--crop', '0.9']) == 0
    assert main(['export', '--run', str(tmp_path / 'run'), '--crop', '0', '--out', str(out)]) == 2
    card = open_bundle(str(out / 'tiny.onnx')).card
    assert card.metrics['images'] == 12 and card.metrics['set'] == 'held out'  # a fifth of 60
    assert card.training['terms'].startswith('mine. Started from ') and 'research' in card.training['terms']
    assert card.training['data'] == 'train' and SMALL_MODEL in card.source and card.input.crop == 0.9
    assert card.network == open_bundle(SMALL_MODEL).card.network
    main(['train', '--recipe', str(tmp_path / 'whole.yaml'), *common, '--val', str(tmp_path / 'val'),
          '--out', str(tmp_path / 'whole')])
    assert main(['export', '--run', str(tmp_path / 'whole'), '--out', str(tmp_path / 'other'), *common,
                 '--force']) == 2
    assert 'trained on 60 images, and only 48 of these are not held out' in capsys.readouterr().err
    capsys.readouterr()
    assert main(['evaluate', str(tmp_path / 'train'), '--held-out', '--model', str(out / 'tiny.onnx'),
                 '--json']) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[0])
    assert (report['images'], report['top1']) == (12, card.metrics['top1'])
