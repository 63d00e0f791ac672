# SPDX-License-Identifier: Apache-2.0
"""`models import` as a user runs it on state dicts: bundles, checkpoints to train from, and errors."""

import hashlib
import io
import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip('torch')
pytest.importorskip('onnx')

import foreign_weights as foreign  # noqa: E402
from foreign_v1 import HALF_G8, MEGVII  # noqa: E402

from shufflenet_ros.backends.load import load  # noqa: E402
from shufflenet_ros.bundles.catalog import read_downloads  # noqa: E402
from shufflenet_ros.bundles.index import IndexEntry, read_index, write_entries  # noqa: E402
from shufflenet_ros.cli.main import main  # noqa: E402
from shufflenet_ros.importers import provenance  # noqa: E402
from shufflenet_ros.zoo.registry import build, config_of  # noqa: E402

pytestmark = pytest.mark.filterwarnings('ignore::torch.jit.TracerWarning', 'ignore::DeprecationWarning')
LABELS = [f'thing_{i}' for i in range(foreign.CLASSES)]


@pytest.fixture
def run(capsys):
    """The command; its status, the object on stdout, stderr."""
    def command(*arguments):
        capsys.readouterr()
        status = main(['models', 'import', *map(str, arguments)])
        out, err = capsys.readouterr()
        return status, json.loads(out) if out else None, err
    return command


@pytest.fixture(scope='module')
def megvii(tmp_path_factory):
    """A random Megvii v1 of 8 groups as its trainer would save it, its labels, and the state dict itself."""
    torch.manual_seed(0)
    state, folder = MEGVII.state(8, 16, HALF_G8), tmp_path_factory.mktemp('megvii')
    path, labels = folder / 'megvii.pth', folder / 'labels.json'
    torch.save({'state_dict': {f'module.{key}': value for key, value in state.items()}}, path)
    labels.write_text(json.dumps(LABELS))
    return path, labels, state


MEAN, STD = (0.1, 0.2, 0.3), (0.5, 0.4, 0.3)


def bgr_bytes(frame):
    return frame.flip(-1).float()


def rgb_normalized(frame):
    return (frame.float() / 255 - torch.tensor(MEAN)) / torch.tensor(STD)


@pytest.mark.parametrize('options, crop, feed', [
    ([], 0.875, bgr_bytes),
    (['--mean', *MEAN, '--std', *STD, '--no-bgr', '--crop', 0.5], 0.5, rgb_normalized)])
@torch.no_grad()
def test_a_bundle_takes_rgb_bytes_whatever_the_source_takes(options, crop, feed, run, megvii, tmp_path):
    path, labels, state = megvii
    out = tmp_path / 'ours.onnx'
    status, report, err = run(path, '-o', out, '--labels', labels, '--px', 64, '--source', 'somebody',
                              '--terms', 'none are known', '--data', 'toys', *options)
    assert status == 0 and report['layout'] == 'megvii_v1' and 'are unknown' not in err
    loaded = load(str(out))
    card = loaded.card
    assert dict(card.network_config) == {'family': 'shufflenet_v1', 'groups': 8, 'width': 0.5,
                                         'shuffle_inverse': True, 'shortcut_first': True}
    assert card.name == 'ours' and card.labels == tuple(LABELS)
    assert card.input.color == 'rgb' and card.input.crop == crop
    assert card.training == {'data': 'toys', 'terms': 'none are known'}
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert card.source == f'somebody; megvii.pth, sha256 {digest}, layout megvii_v1'
    for frame in np.random.default_rng(0).integers(0, 256, (4, 1, 64, 64, 3), np.uint8):
        expected = MEGVII.forward(state, feed(torch.from_numpy(frame)).permute(0, 3, 1, 2), 8)[0]
        got = torch.from_numpy(loaded.backend.run(frame).logits)
        assert foreign.relative(got, expected) <= foreign.LIMIT


def test_a_published_file_provides_source_terms_and_crop(run, tmp_path, monkeypatch):
    buffer = io.BytesIO()
    torch.save(foreign.pytorchcv_model('shufflenet', 'shufflenet_g3_wd4', 1000).state_dict(), buffer)
    path = tmp_path / 'net.pth.zip'
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('net.pth', buffer.getvalue())
    # The published files are not available here, so a row of the real table gets this file's hash.
    row = replace(read_downloads()['shufflenet_v1_x0_25_g3_stem6-pytorchcv'],
                  check=hashlib.sha1(buffer.getvalue()).hexdigest(), resize=232)
    monkeypatch.setattr(provenance, 'read_downloads', lambda: {row.name: row})
    status, report, err = run(path, '-o', tmp_path / 'm.onnx', '--px', 64)
    card = load(str(tmp_path / 'm.onnx')).card
    assert status == 0 and report['network'] == row.network == card.network and 'are unknown' not in err
    assert card.labels[0] == 'tench' and len(card.labels) == 1000
    assert card.license == row.license and card.training == {'data': 'ImageNet', 'terms': row.terms}
    assert card.metrics['published_top1_error'] == row.top1_error and row.url in card.source
    assert card.input.crop == pytest.approx(224 / 232) and card.cost['params'] == 305_902


def test_unknown_bytes_are_not_a_published_file(shared_data):
    assert provenance.download_of(b'something') is None
    data = (shared_data / 'shufflenet_v2_x1_0_int8.onnx').read_bytes()
    assert provenance.download_of(data).name == 'shufflenet_v2_x1_0-imagenet-224-int8'


def test_a_backbone_becomes_a_checkpoint_but_not_a_bundle(run, shared_data, tmp_path):
    source = shared_data / 'shufflenet_v2_x0_5_backbone.pth'
    status, _, err = run(source, '-o', tmp_path / 'm.onnx')
    assert status == 2 and 'has no fc, last: expected a whole classifier' in err and '-o m.pt' in err
    assert not (tmp_path / 'm.onnx').exists()
    status, report, err = run(source, '-o', tmp_path / 'm.pt')
    assert status == 0 and report['network'] == 'shufflenet_v2_x0_5' and 'are unknown' in err
    saved = torch.load(tmp_path / 'm.pt', weights_only=True)
    assert saved['labels'] == [] and saved['normalization']['std'] == (1.0, 1.0, 1.0)
    model = build(config_of(saved['network'], classes=5))
    loaded = model.load_state_dict(saved['model'], strict=False)
    assert not loaded.unexpected_keys
    assert {key.split('.')[0] for key in loaded.missing_keys} == {'last', 'fc'}


def test_a_checkpoint_of_a_whole_network_loads_strictly(run, megvii, tmp_path):
    path, labels, _ = megvii
    status, *_ = run(path, '-o', tmp_path / 'm.pt', '--labels', labels)
    saved = torch.load(tmp_path / 'm.pt', weights_only=True)
    assert status == 0 and saved['labels'] == LABELS
    build(config_of(saved['network'], foreign.CLASSES)).load_state_dict(saved['model'])


def test_an_index_with_the_file_gets_the_new_one(run, megvii, tmp_path):
    path, labels, _ = megvii
    out, kept = tmp_path / 'm.onnx', IndexEntry('else.onnx', 'a' * 64, 3)
    write_entries(tmp_path, {'old': IndexEntry('m.onnx', 'b' * 64, 3), 'else': kept})
    assert run(path, '-o', out, '--labels', labels, '--px', 32)[0] == 0
    entries = read_index(tmp_path)
    assert set(entries) == {'m', 'else'} and entries['else'] == kept
    assert entries['m'].sha256 == hashlib.sha256(out.read_bytes()).hexdigest()


@pytest.mark.parametrize('arguments, message', [
    (['-o', 'm.bin'], 'expected a name that ends in .onnx'),
    (['-o', 'm.onnx', '--px', '8'], '--px 8: expected a number from 32 to 2048'),
    (['-o', 'm.onnx', '--crop', '2'], '--crop 2.0: expected'),
    (['-o', 'm.onnx', '--std', '0', '1', '1'], '--std [0.0, 1.0, 1.0]: expected'),
    (['-o', 'm.onnx', '--mean', '0', 'nan', '0'], '--mean'),
    (['-o', 'm.onnx', '--layout', 'caffe'], "no layout 'caffe'"),
    (['-o', 'm.onnx'], '7 classes without labels: expected --labels'),
    (['-o', 'm.onnx', '--labels', 'two.txt'], 'has 2 labels: expected 7'),
    (['-o', 'm.onnx', '--labels', 'bad.json'], 'bad.json: cannot be read'),
    (['-o', 'megvii.pth'], 'expected a name that ends in .onnx'),
])
def test_an_error_is_one_line_and_writes_nothing(arguments, message, run, megvii, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(megvii[0], tmp_path)
    Path('two.txt').write_text('a\nb\n')
    Path('bad.json').write_text('[')
    before = sorted(tmp_path.iterdir())
    status, out, err = run('megvii.pth', *arguments)
    assert status == 2 and out is None and message in err
    assert sorted(tmp_path.iterdir()) == before
