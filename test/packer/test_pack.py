"""`models pack` and `export --precision`: blobs beside a bundle, entries in its card, nothing else moved."""

import json
import re
import shutil
import subprocess
import sys
import warnings

import numpy as np
import pytest
from training_set import write_set

pytest.importorskip('onnx')

from shufflenet_ros.bundles.bundle import open_bundle
from shufflenet_ros.bundles.files import sha256_of
from shufflenet_ros.bundles.index import read_index, write_index
from shufflenet_ros.cli.main import main
from shufflenet_ros.cli.train import LEARNED_NOTHING
from shufflenet_ros.datasets.calibration import calibration_inputs, reference_inputs
from shufflenet_ros.datasets.holdout import holdout_split
from shufflenet_ros.datasets.open_dataset import open_dataset

SMALL_MODEL = 'shufflenet_v1_x0_5_g3-tiny_imagenet-64'

ALL = ['fp32', 'fp16', 'int8']


@pytest.fixture
def shipped(tmp_path):
    """A copy of a shipped bundle as it was before it was packed, in a folder with an index."""
    bundle = open_bundle(SMALL_MODEL)
    path = tmp_path / 'models' / bundle.path.name
    path.parent.mkdir()
    shutil.copy(bundle.path, path)
    write_index(path.parent)
    return path


def pack(*arguments, status=0):
    assert main(['models', 'pack', *map(str, arguments)]) == status


def test_every_precision_is_written_listed_and_proved_without_onnx(shipped, capsys):
    before = open_bundle(str(shipped))
    pack(shipped, '--reference', '--count', 64, '--json')
    report = json.loads(capsys.readouterr().out)
    after = open_bundle(str(shipped))
    assert report['bundle'] == str(shipped) and [v['precision'] for v in report['variants']] == ALL
    assert after.facts.graph_sha256 == before.facts.graph_sha256
    entries = [v for v in after.card.variants if v.backend == 'native']
    for variant, told in zip(entries, report['variants'], strict=True):
        blob = shipped.with_name(variant.file).read_bytes()
        assert blob[:4] == b'SNNB' and len(blob) == told['size']
        assert (sha256_of(blob), after.facts.graph_sha256) == (variant.sha256, variant.graph_sha256)
        assert told['distance'] < {'fp32': 1e-5, 'fp16': 0.05, 'int8': 0.3}[variant.precision]
        assert ('synthetic: 64 images' in variant.calibration) == (variant.precision != 'fp32')
    for field in ('labels', 'training', 'metrics', 'golden', 'license', 'source', 'network_config', 'cost'):
        assert getattr(after.card, field) == getattr(before.card, field)
    entry = read_index(shipped.parent)[after.card.name]
    assert (entry.sha256, entry.size) == (after.sha256, len(after.data))
    code = ("import sys; sys.modules['onnx'] = None; from shufflenet_ros.backends.load import load; "
            'print(load(sys.argv[1], backend="onnxruntime").bundle.card.variants[0].file)')
    done = subprocess.run([sys.executable, '-c', code, shipped], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == entries[0].file


def test_packing_needs_no_torch(shipped):
    code = ("import sys; sys.modules['torch'] = None; from shufflenet_ros.cli.main import main; "
            "sys.exit(main(['models', 'pack', sys.argv[1], '--reference', '--count', '64']))")
    done = subprocess.run([sys.executable, '-c', code, shipped], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(list(shipped.parent.glob('*.native'))) == 3


def test_packed_again_an_entry_is_replaced_and_others_stay(shipped):
    pack(shipped, '--reference', '--count', 64, '--precision', 'fp32', 'int8')
    first = {v.precision: v for v in open_bundle(str(shipped)).card.variants if v.backend == 'native'}
    pack(shipped, '--reference', '--count', 80, '--precision', 'int8')
    again = [v for v in open_bundle(str(shipped)).card.variants if v.backend == 'native'
             and v.precision in ('fp32', 'int8')]
    assert sorted(v.precision for v in again) == ['fp32', 'int8'] and first['fp32'] in again
    assert first['int8'] not in again
    once = shipped.read_bytes()
    pack(shipped, '--reference', '--count', 80, '--precision', 'int8')
    assert shipped.read_bytes() == once


def test_another_folder_gets_bundle_and_variants(shipped, tmp_path):
    old = shipped.read_bytes()
    pack(shipped, '--precision', 'fp32', '-o', tmp_path / 'new')
    assert shipped.read_bytes() == old and not list(shipped.parent.glob('*.native'))
    assert sorted(path.suffix for path in (tmp_path / 'new').iterdir()) == ['.native', '.onnx']
    assert open_bundle(str(tmp_path / 'new' / shipped.name)).sha256 != sha256_of(old)


def test_calibration_images_are_those_that_train_and_the_card_names_them(shipped, tmp_path):
    tar = write_set(tmp_path / 'tiny.tar')
    pack(shipped, '--calibrate', tar, '--count', 12, '--precision', 'fp16')
    card = open_bundle(str(shipped)).card
    expected = calibration_inputs(tar, card.input, 12).summary
    assert 'tiny.tar (train): 12 images of 3 classes' in expected
    assert [v.calibration for v in card.variants if v.precision == 'fp16'] == [expected]


def test_of_a_set_without_splits_what_is_held_out_calibrates_nothing(tmp_path):
    spec = open_bundle(SMALL_MODEL).card.input
    folder = write_set(tmp_path / 'tiny.tar').parent
    shutil.unpack_archive(tmp_path / 'tiny.tar', folder)
    held = set(holdout_split(open_dataset(folder / 'train'))[1].names)
    chosen = calibration_inputs(folder / 'train', spec, 1000, hold_out=True)
    assert held and not held & set(chosen.names)
    assert held <= set(calibration_inputs(folder / 'train', spec, 1000).names)
    assert 'all but what is held out' in chosen.summary


def test_ranges_of_images_unlike_any_other_are_refused_and_nothing_is_written(shipped, capsys, tmp_path):
    old = shipped.read_bytes()
    colors = write_set(tmp_path / 'tiny.tar')  # one color an image
    pack(shipped, '--calibrate', colors, '--precision', 'fp32', 'int8', status=2)
    error = capsys.readouterr().err
    assert "expected logits within 0.3 of the graph's" in error and 'these were tiny.tar (train): ' in error
    assert shipped.read_bytes() == old and not list(shipped.parent.glob('*.native'))


@pytest.mark.parametrize(('arguments', 'words'), [
    (['--precision', 'fp16', 'int8'], 'fp16 and int8 of .*: expected images to take ranges from'),
    (['--calibrate', 'nowhere'], 'set nowhere does not exist'),
    (['--reference', '--count', '0'], '0 calibration images: expected at least 1'),
])
def test_wrong_arguments_write_nothing(arguments, words, shipped, capsys):
    old = shipped.read_bytes()
    pack(shipped, *arguments, status=2)
    error = capsys.readouterr().err
    assert re.search(words, error), error
    assert shipped.read_bytes() == old and not list(shipped.parent.glob('*.native'))


def test_a_graph_that_kernels_do_not_have_is_refused_with_the_reason(shared_data, tmp_path, capsys):
    theirs = tmp_path / 'theirs.onnx'
    shutil.copy(shared_data / 'shufflenet_v2_x1_0_int8.onnx', theirs)
    pack(theirs, status=2)
    assert 'its card is packaged' in capsys.readouterr().err
    card = tmp_path / 'card.json'
    card.write_text(open_bundle(str(theirs)).card.to_json())
    assert main(['models', 'add-card', str(theirs), '--card', str(card), '-o',
                 str(tmp_path / 'ours.onnx')]) == 0
    capsys.readouterr()
    pack(tmp_path / 'ours.onnx', status=2)
    error = capsys.readouterr().err
    assert 'ours.onnx: an input of NCHW float32: expected NHWC uint8' in error and 'onnxruntime' in error


def test_export_packs_what_it_is_asked_for(tmp_path, capsys):
    pytest.importorskip('torch')
    tar = write_set(tmp_path / 'tiny.tar')
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


def test_reference_images_are_the_frames_that_the_network_takes():
    spec = open_bundle(SMALL_MODEL).card.input
    frames = reference_inputs(spec, 2).inputs
    assert frames.shape == (2, *spec.shape[1:]) and frames.dtype == np.uint8


def test_a_variant_is_held_to_its_own_golden_logits(shipped, native_library):
    from dataclasses import replace

    from shufflenet_ros.backends.load import load
    from shufflenet_ros.bundles.errors import ModelError
    from shufflenet_ros.bundles.onnx_metadata import with_metadata
    from shufflenet_ros.core.card import METADATA_KEY

    pack(shipped, '--reference', '--count', 64, '--precision', 'int8')
    bundle = open_bundle(str(shipped))
    variant = next(v for v in bundle.card.variants if v.precision == 'int8')
    assert variant.golden.tolerance <= 1e-6
    assert load(str(shipped), backend='native', precision='int8').choice.startswith('native')
    first, *others = variant.golden.logits
    largest = max(map(abs, variant.golden.logits))
    off = replace(variant, golden=replace(variant.golden, logits=(first + 1e-4 * largest, *others)))
    card = replace(bundle.card, variants=(off,))
    shipped.write_bytes(with_metadata(bundle.data, METADATA_KEY, card.to_json()))
    write_index(shipped.parent)
    with pytest.raises(ModelError, match='golden logits within 1e-06'):
        load(str(shipped), backend='native', precision='int8')


def test_scores_of_variants_are_kept_with_the_command(shipped, native_library, tmp_path, capsys):
    import cv2

    labels = open_bundle(str(shipped)).card.labels
    for split, count in (('train', 3), ('val', 2)):
        for label in labels[:2]:
            folder = tmp_path / 'set' / split / label
            folder.mkdir(parents=True)
            for index in range(count):
                image = np.random.default_rng(index).integers(0, 256, (80, 80, 3), np.uint8)
                assert cv2.imwrite(str(folder / f'{index}.png'), image)
    pack(shipped, '--reference', '--count', 64, '--precision', 'fp32', '--score', tmp_path / 'set', '--json')
    told = json.loads(capsys.readouterr().out)['variants'][0]['metrics']
    kept = next(v.metrics for v in open_bundle(str(shipped)).card.variants if v.precision == 'fp32')
    name = open_bundle(str(shipped)).card.name
    assert kept == told and kept['images'] == 4 and 0 <= kept['top1'] <= kept['top5'] <= 1
    assert kept['command'] == f'shufflenet-ros evaluate set --model {name} --precision fp32'
