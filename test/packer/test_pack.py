# SPDX-License-Identifier: Apache-2.0
"""`models pack` and `export --precision`: blobs next to a bundle, entries in its card, no other change."""

import json
import re
import shutil
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from training_set import write_set

pytest.importorskip('onnx')

from shufflenet_ros.backends.load import load
from shufflenet_ros.bundles.bundle import open_bundle
from shufflenet_ros.bundles.errors import ModelError
from shufflenet_ros.bundles.files import sha256_of
from shufflenet_ros.bundles.index import read_index, write_index
from shufflenet_ros.cli.main import main
from shufflenet_ros.cli.train import LEARNED_NOTHING
from shufflenet_ros.datasets.calibration import calibration_inputs
from shufflenet_ros.datasets.holdout import holdout_split
from shufflenet_ros.datasets.open_dataset import open_dataset
from shufflenet_ros.packer.pack import write_with_card

SMALL_MODEL = 'shufflenet_v1_x0_5_g3-tiny_imagenet-64'
ALL = ['fp32', 'fp16', 'int8']
COUNT = ['--reference', '--count', '16']
PACK_WITHOUT_TORCH = ("import sys; sys.modules['torch'] = None; from shufflenet_ros.cli.main import main; "
                      "sys.exit(main(['models', 'pack', *sys.argv[1:]]))")
LOAD_WITHOUT_ONNX = ("import sys; sys.modules['onnx'] = None; from shufflenet_ros.backends.load import load; "
                     "print(load(sys.argv[1], backend='onnxruntime').bundle.card.variants[0].file)")


@pytest.fixture(scope='module')
def packed_once(tmp_path_factory):
    """A shipped bundle packed in every precision, in a folder with an index; and the report."""
    path = Path(shutil.copy(open_bundle(SMALL_MODEL).path, tmp_path_factory.mktemp('models')))
    write_index(path.parent)
    return path, json.loads(run_python(PACK_WITHOUT_TORCH, path, *COUNT, '--json'))


@pytest.fixture
def packed(packed_once, tmp_path):
    """A copy of the packed bundle and its folder."""
    return shutil.copytree(packed_once[0].parent, tmp_path / 'models') / packed_once[0].name


def pack(*arguments, status=0):
    assert main(['models', 'pack', *map(str, arguments)]) == status


def contents(path):
    return {file.name: file.read_bytes() for file in path.parent.iterdir()}


def variants_of(path):
    """Precision -> entry of the native variants."""
    return {v.precision: v for v in open_bundle(str(path)).card.variants if v.backend == 'native'}


def run_python(code, *arguments):
    done = subprocess.run([sys.executable, '-c', code, *arguments], capture_output=True, text=True,
                          check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_every_precision_is_written_listed_and_verified_without_onnx(packed_once):
    path, report = packed_once
    before, after, entries = open_bundle(SMALL_MODEL), open_bundle(str(path)), variants_of(path)
    assert report['bundle'] == str(path)
    assert [v['precision'] for v in report['variants']] == [*entries] == ALL
    assert after.facts.graph_sha256 == before.facts.graph_sha256
    for variant, reported in zip(entries.values(), report['variants'], strict=True):
        blob = path.with_name(variant.file).read_bytes()
        assert blob[:4] == b'SNNB' and len(blob) == reported['size']
        assert (sha256_of(blob), after.facts.graph_sha256) == (variant.sha256, variant.graph_sha256)
        assert reported['distance'] < {'fp32': 1e-5, 'fp16': 0.05, 'int8': 0.3}[variant.precision]
        assert ('synthetic: 16 images' in variant.calibration) == (variant.precision != 'fp32')
    for field in ('labels', 'training', 'metrics', 'golden', 'license', 'source', 'network_config', 'cost'):
        assert getattr(after.card, field) == getattr(before.card, field)
    entry = read_index(path.parent)[after.card.name]
    assert (entry.sha256, entry.size) == (after.sha256, len(after.data))
    assert run_python(LOAD_WITHOUT_ONNX, path) == entries['fp32'].file


def test_packing_again_replaces_the_entry_of_that_precision(packed):
    first, once = variants_of(packed), packed.read_bytes()
    pack(packed, *COUNT, '--precision', 'int8')
    assert packed.read_bytes() == once, 'the same frames give the same bytes'
    pack(packed, '--reference', '--count', 12, '--precision', 'int8')
    again = variants_of(packed)
    assert again['fp32'] == first['fp32'] and again['int8'] != first['int8']
    assert sum(v.precision == 'int8' for v in open_bundle(str(packed)).card.variants) == 1


def test_training_images_calibrate_into_another_folder_and_its_card_describes_them(packed, tmp_path):
    old, tar, new = contents(packed), write_set(tmp_path / 'tiny.tar'), tmp_path / 'new'
    pack(packed, '--calibrate', tar, '--count', 12, '--precision', 'fp16', '-o', new)
    assert contents(packed) == old
    assert sorted(path.suffix for path in new.iterdir()) == ['.native', '.onnx']
    expected = calibration_inputs(tar, open_bundle(str(packed)).card.input, 12).summary
    assert 'tiny.tar (train): 12 images of 3 classes' in expected
    assert variants_of(new / packed.name)['fp16'].calibration == expected


def test_held_out_images_of_a_set_without_splits_calibrate_nothing(tmp_path):
    spec = open_bundle(SMALL_MODEL).card.input
    folder = write_set(tmp_path / 'tiny.tar').parent
    shutil.unpack_archive(tmp_path / 'tiny.tar', folder)
    held = set(holdout_split(open_dataset(folder / 'train'))[1].names)
    chosen = calibration_inputs(folder / 'train', spec, 1000, hold_out=True)
    assert held and not held & set(chosen.names)
    assert held <= set(calibration_inputs(folder / 'train', spec, 1000).names)
    assert 'all but what is held out' in chosen.summary


@pytest.mark.parametrize(('arguments', 'message'), [
    (['--precision', 'fp16', 'int8'], 'fp16 and int8 of .*: expected calibration images'),
    (['--calibrate', 'nowhere'], 'set nowhere does not exist'),
    (['--reference', '--count', '0'], '0 calibration images: expected at least 1'),
    # images of one color give ranges unlike those of any other image
    (['--calibrate', 'tiny.tar', '--precision', 'fp32', 'int8'],
     r"expected logits within 0.3 of the graph's.*these were tiny.tar \(train\): "),
])
def test_an_error_writes_nothing(arguments, message, packed, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_set(tmp_path / 'tiny.tar', train=6)
    old = contents(packed)
    pack(packed, *arguments, status=2)
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert contents(packed) == old


def test_a_graph_that_the_kernels_cannot_compute(shared_data, tmp_path, capsys):
    bare, with_card = tmp_path / 'bare.onnx', tmp_path / 'with_card.onnx'
    shutil.copy(shared_data / 'shufflenet_v2_x1_0_int8.onnx', bare)
    pack(bare, status=2)
    assert 'its card is packaged' in capsys.readouterr().err
    card = tmp_path / 'card.json'
    card.write_text(open_bundle(str(bare)).card.to_json())
    assert main(['models', 'add-card', str(bare), '--card', str(card), '-o', str(with_card)]) == 0
    capsys.readouterr()
    pack(with_card, status=2)
    error = capsys.readouterr().err
    assert 'with_card.onnx: an input of NCHW float32: expected NHWC uint8' in error and 'onnxruntime' in error


def test_export_packs_the_requested_precisions(tmp_path, capsys):
    pytest.importorskip('torch')
    tar = write_set(tmp_path / 'tiny.tar', train=8, val=4)
    (tmp_path / 'tiny.yaml').write_text('name: tiny\nnetwork: {groups: 3, width: 0.25}\npx: 64\nepochs: 1\n'
                                        'batch: 12\nlearning_rate: 0.05\nwarmup_epochs: 0.5\n')
    run, out = tmp_path / 'run', tmp_path / 'models'
    train = ['train', '--recipe', str(tmp_path / 'tiny.yaml'), '--data', str(tar), '--out', str(run)]
    assert main(train) == LEARNED_NOTHING, 'what it has learned does not matter here'
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        assert main(['export', '--force', '--run', str(run), '--out', str(out), '--data', str(tar),
                     '--precision', *ALL]) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report['variants'] == [f'tiny-{precision}.native' for precision in ALL]
    bundle = open_bundle(str(out / 'tiny.onnx'))
    assert [v.file for v in bundle.card.variants] == report['variants']
    assert bundle.card.variants[1].calibration.startswith('tiny.tar (train): ')
    assert bundle.card.metrics['top1'] == report['top1']
    assert [v.metrics['images'] for v in bundle.card.variants] == [report['images']] * 3
    assert bundle.card.variants[0].metrics['top1'] == report['top1']
    assert read_index(out)['tiny'].sha256 == bundle.sha256


def test_a_variant_must_give_its_own_golden_logits(packed, native_library):
    bundle, variant = open_bundle(str(packed)), variants_of(packed)['int8']
    assert variant.golden.tolerance <= 1e-6
    assert load(str(packed), backend='native', precision='int8').choice.startswith('native')
    first, *others = variant.golden.logits
    largest = max(map(abs, variant.golden.logits))
    wrong = replace(variant, golden=replace(variant.golden, logits=(first + 1e-4 * largest, *others)))
    write_with_card(bundle, replace(bundle.card, variants=(wrong,)), packed)
    with pytest.raises(ModelError, match='golden logits within 1e-06'):
        load(str(packed), backend='native', precision='int8')


def test_scores_of_variants_are_kept_with_the_command(packed, native_library, tmp_path, capsys):
    labels = open_bundle(str(packed)).card.labels
    for split, count in (('train', 3), ('val', 2)):
        for label in labels[:2]:
            folder = tmp_path / 'set' / split / label
            folder.mkdir(parents=True)
            for index in range(count):
                image = np.random.default_rng(index).integers(0, 256, (80, 80, 3), np.uint8)
                assert cv2.imwrite(str(folder / f'{index}.png'), image)
    pack(packed, '--precision', 'fp32', '--score', tmp_path / 'set', '--json')
    reported = json.loads(capsys.readouterr().out)['variants'][0]['metrics']
    kept, name = variants_of(packed)['fp32'].metrics, open_bundle(str(packed)).card.name
    assert kept == reported and kept['images'] == 4 and 0 <= kept['top1'] <= kept['top5'] <= 1
    assert kept['command'] == f'shufflenet-ros evaluate set --model {name} --precision fp32'
