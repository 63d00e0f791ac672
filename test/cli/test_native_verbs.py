# SPDX-License-Identifier: Apache-2.0
"""The verbs that run a model on native kernels: options, output on variants, what is not a failure."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip('onnx', reason='needs the extra export')

from native_models import LABELS, SIZE, native_bundle, weights

from shufflenet_ros.backends.native import VARIABLE
from shufflenet_ros.bundles.files import sha256_of
from shufflenet_ros.cli import main as cli

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def built(native_library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library, built from the current sources."""
    monkeypatch.setenv(VARIABLE, str(native_library))


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return native_bundle(tmp_path / 'm.onnx', precisions=('fp32', 'fp16'))


def run(status: int, *words: object) -> None:
    assert cli.main([str(word) for word in words]) == status


def test_check_verifies_every_variant(bundle: Path, capsys: Capture) -> None:
    run(0, 'models', 'check', bundle)
    out = capsys.readouterr().out
    assert 'yes: loads and runs on CPUExecutionProvider' in out
    assert 'm-fp32.native: yes: runs on native fp32-' in out
    assert 'm-fp16.native: yes: runs on native fp16-' in out and "away from the graph's" in out
    run(0, 'models', 'check', bundle, '--json')
    checked = json.loads(capsys.readouterr().out)
    assert checked['ok'] and checked['backend'] == 'onnxruntime'
    assert [(v['file'], v['ok'], v['precision']) for v in checked['variants']] == [
        ('m-fp32.native', True, 'fp32'), ('m-fp16.native', True, 'fp16')]
    assert 0 < checked['variants'][1]['distance'] < 0.01


def test_check_fails_for_a_bad_variant_and_reports_what_it_cannot_run(bundle: Path, capsys: Capture) -> None:
    (bundle.parent / 'm-fp16.native').unlink()
    run(0, 'models', 'check', bundle)
    assert 'm-fp16.native: not here: ' in capsys.readouterr().out
    (bundle.parent / 'm-fp32.native').write_bytes(b'something else')
    run(1, 'models', 'check', bundle)
    assert 'm-fp32.native: no: ' in capsys.readouterr().out
    run(1, 'models', 'check', bundle, '--json')
    checked = json.loads(capsys.readouterr().out)
    assert [v['ok'] for v in checked['variants']] == [False, None] and not checked['ok']


def test_check_without_the_library_is_no_failure(bundle: Path, monkeypatch: pytest.MonkeyPatch,
                                                 capsys: Capture) -> None:
    monkeypatch.setenv(VARIABLE, str(bundle.parent / 'gone.so'))
    run(0, 'models', 'check', bundle)
    assert capsys.readouterr().out.count('not here: ') == 2
    run(0, 'models', 'show', bundle)
    assert 'gone.so: no such file' in capsys.readouterr().out


def test_check_of_a_backend_or_precision(bundle: Path, capsys: Capture) -> None:
    run(0, 'models', 'check', bundle, '--backend', 'native')
    out = capsys.readouterr().out
    assert 'yes: loads and runs on fp32-' in out and 'native, because it was requested' in out
    run(0, 'models', 'check', bundle, '--precision', 'fp16', '--json')
    checked = json.loads(capsys.readouterr().out)
    assert (checked['backend'], checked['precision'], checked['variants']) == ('native', 'fp16', [])
    run(1, 'models', 'check', bundle, '--precision', 'int8')
    assert "fp32, fp16, got 'int8'" in capsys.readouterr().out


def test_show_prints_what_would_run(bundle: Path, capsys: Capture) -> None:
    run(0, 'models', 'show', bundle, '--json', '--backend', 'auto')
    shown = json.loads(capsys.readouterr().out)
    assert re.search(r': the fastest here of .*native fp32 [0-9.]+ ms', shown['runs_on'])
    assert shown['variants_here'] == {'m-fp32.native': 'here', 'm-fp16.native': 'here'}
    run(0, 'models', 'show', native_bundle(bundle.with_name('bare.onnx'), precisions=()))
    assert 'variants_here' not in capsys.readouterr().out


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twelve images of noise in two folders."""
    folder, rng = tmp_path / 'photos', np.random.default_rng(11)
    for label in LABELS[:2]:
        (folder / label).mkdir(parents=True)
        for i in range(6):
            cv2.imwrite(str(folder / label / f'{i}.png'), rng.integers(0, 256, (*SIZE, 3), np.uint8))
    return folder


def test_classify_prints_what_runs(bundle: Path, photos: Path, capsys: Capture) -> None:
    results = {}
    for backend in ('native', 'onnxruntime', 'auto'):
        run(0, 'classify', photos / LABELS[0], '--model', bundle, '--backend', backend, '--json')
        out = capsys.readouterr()
        results[backend] = [json.loads(line)['predictions'] for line in out.out.splitlines()]
        runs = {'native': r'native fp32 \(fp32-.*it was requested', 'auto': 'the fastest here of'}
        assert re.search(f'\nruns on .*{runs.get(backend, "onnxruntime fp32")}', out.err)
    assert results['auto'] in (results['native'], results['onnxruntime']) and len(results['native']) == 6
    for ours, theirs in zip(results['native'], results['onnxruntime'], strict=True):
        assert [prediction['name'] for prediction in ours] == [prediction['name'] for prediction in theirs]


def test_evaluate_compares_a_precision_with_the_bundle(bundle: Path, photos: Path, capsys: Capture) -> None:
    run(0, 'evaluate', photos, '--model', bundle, '--precision', 'fp16', '--against', bundle, '--json')
    lower, own, paired = map(json.loads, capsys.readouterr().out.splitlines())
    assert (lower['precision'], own['precision']) == ('fp16', 'fp32')
    files = [bundle.with_name(f'm-{precision}.native') for precision in ('fp16', 'fp32')]
    assert [lower['sha256'], own['sha256']] == [sha256_of(file.read_bytes()) for file in files]
    assert paired['images'] == 12 and len(set(paired['comparison'])) == 2
    run(0, 'evaluate', photos, '--model', bundle, '--backend', 'onnxruntime')
    assert 'runs on' in capsys.readouterr().out


def test_a_bad_variant_ends_the_verb_in_one_line(tmp_path: Path, photos: Path, capsys: Capture) -> None:
    bad = native_bundle(tmp_path / 'bad.onnx', blob_of=weights(4))
    assert cli.main(['classify', str(photos), '--model', str(bad), '--backend', 'native']) != 0
    error = capsys.readouterr().err.strip().splitlines()
    assert "expected logits within 0.001 of the graph's" in error[-1]
