# SPDX-License-Identifier: Apache-2.0
"""The verbs that run a model on native kernels: options, output on variants, what is not a failure."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip('onnx', reason='needs the extra export')

from labeled_datasets import write_folder
from native_models import LABELS, SIZE, native_bundle, weights

from shufflenet_ros.backends.native import VARIABLE
from shufflenet_ros.bundles.files import sha256_of
from shufflenet_ros.bundles.index import write_index


@pytest.fixture(autouse=True)
def built(native_library, monkeypatch) -> None:
    """The library, built from the current sources."""
    monkeypatch.setenv(VARIABLE, str(native_library))


@pytest.fixture
def bundle(cache) -> Path:
    path = native_bundle(cache / 'm.onnx', precisions=('fp32', 'fp16'), inside=True)
    write_index(cache)
    return path


def test_check_verifies_every_variant(bundle, models, tmp_path):
    out = models('check', native_bundle(tmp_path / 'm.onnx', precisions=('fp32', 'fp16'))).out  # in no index
    assert 'yes: loads and runs on CPUExecutionProvider' in out
    assert 'm-fp32.native: yes: runs on native fp32-' in out
    assert 'm-fp16.native: yes: runs on native fp16-' in out and "away from the graph's" in out
    checked, = models('check', bundle, '--json').lines
    assert checked['ok'] and checked['backend'] == 'onnxruntime'
    assert [(v['file'], v['ok'], v['precision']) for v in checked['variants']] == [
        ('m-fp32.native', True, 'fp32'), ('m-fp16.native', True, 'fp16')]
    assert 0 < checked['variants'][1]['distance'] < 0.01


def test_check_fails_for_a_bad_variant_and_reports_what_it_cannot_run(bundle, models):
    (bundle.parent / 'm-fp16.native').unlink()
    assert 'm-fp16.native: not here: ' in models('check', bundle).out
    (bundle.parent / 'm-fp32.native').write_bytes(b'something else')
    assert 'm-fp32.native: no: ' in models('check', bundle, status=1).out
    checked, = models('check', bundle, '--json', status=1).lines
    assert [v['ok'] for v in checked['variants']] == [False, None] and not checked['ok']


def test_check_without_the_library_is_no_failure(bundle, models, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(bundle.parent / 'gone.so'))
    assert models('check', bundle).out.count('not here: ') == 2
    assert 'gone.so: no such file' in models('show', bundle).out


def test_check_of_a_backend_or_precision(bundle, models):
    out = models('check', bundle, '--backend', 'native').out
    assert 'yes: loads and runs on fp32-' in out and 'native, because it was requested' in out
    checked, = models('check', bundle, '--precision', 'fp16', '--json').lines
    assert (checked['backend'], checked['precision'], checked['variants']) == ('native', 'fp16', [])
    assert "fp32, fp16, got 'int8'" in models('check', bundle, '--precision', 'int8', status=1).out


def test_show_prints_what_would_run(bundle, models):
    shown, = models('show', bundle, '--json', '--backend', 'auto').lines
    assert re.search(r': the fastest here of .*native fp32 [0-9.]+ ms', shown['runs_on'])
    assert shown['variants_here'] == {'m-fp32.native': 'here', 'm-fp16.native': 'here'}
    bare = native_bundle(bundle.with_name('bare.onnx'), precisions=())
    assert 'variants_here' not in models('show', bare).out


@pytest.fixture
def photos(tmp_path) -> Path:
    """Twelve images of noise in two folders."""
    noise = np.random.default_rng(11).integers(0, 256, (12, *SIZE, 3), np.uint8)
    files = [cv2.imencode('.png', pixels)[1].tobytes() for pixels in noise]
    names = (f'{label}/{i}.png' for i in range(6) for label in LABELS[:2])
    return write_folder(tmp_path / 'photos', dict(zip(names, files)))


def test_classify_prints_what_runs(bundle, photos, classify):
    results = {}
    for backend, runs in (('native', r'native fp32 \(fp32-.*it was requested'),
                          ('onnxruntime', 'onnxruntime fp32'), ('auto', 'the fastest here of')):
        ran = classify(photos / LABELS[0], '--model', bundle, '--backend', backend, '--json')
        results[backend] = [line['predictions'] for line in ran.lines]
        assert re.search(f'\nruns on .*{runs}', ran.err)
    assert results['auto'] in (results['native'], results['onnxruntime']) and len(results['native']) == 6
    for ours, theirs in zip(results['native'], results['onnxruntime'], strict=True):
        assert [prediction['name'] for prediction in ours] == [prediction['name'] for prediction in theirs]


def test_evaluate_compares_a_precision_with_the_bundle(bundle, photos, evaluate):
    ran = evaluate(photos, '--model', bundle, '--precision', 'fp16', '--against', bundle, '--json')
    lower, own, paired = ran.lines
    assert (lower['precision'], own['precision']) == ('fp16', 'fp32')
    files = [bundle.with_name(f'm-{precision}.native') for precision in ('fp16', 'fp32')]
    assert [lower['sha256'], own['sha256']] == [sha256_of(file.read_bytes()) for file in files]
    assert paired['images'] == 12 and len(set(paired['comparison'])) == 2
    assert 'runs on' in evaluate(photos, '--model', bundle, '--backend', 'onnxruntime').out


def test_a_bad_variant_ends_the_verb_in_one_line(photos, classify, tmp_path):
    bad = native_bundle(tmp_path / 'bad.onnx', blob_of=weights(4))
    error = classify(photos, '--model', bad, '--backend', 'native', status=2).err.strip().splitlines()
    assert "expected logits within 0.001 of the graph's" in error[-1]
