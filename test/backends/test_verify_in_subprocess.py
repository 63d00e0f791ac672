# SPDX-License-Identifier: Apache-2.0
"""Rows C4 and C5: no malformed or greedy model ends the process that loads it, or keeps it waiting."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import mutants
import onnxruntime
import pytest
from onnx_models import card, good

from shufflenet_ros.backends.load import load
from shufflenet_ros.backends.verify_in_subprocess import ProcessLimits, verify_in_subprocess
from shufflenet_ros.bundles.bundle import Bundle, open_bundle
from shufflenet_ros.bundles.errors import ModelError
from shufflenet_ros.bundles.variants import resolve

MUTANTS = 400
UNIT_CARD = card(outputs={'logits': 'logits'}, embedding=None)
ANSWER_CARD = card(outputs={'logits': 'answer'}, embedding=None)


def bundle_of(folder: Path, data: bytes, values: dict[str, object] = UNIT_CARD) -> Bundle:
    path = folder / 'm.onnx'
    path.write_bytes(data)
    (folder / 'm.onnx.card.json').write_text(json.dumps(values))
    return open_bundle(str(path))


def test_a_good_model_passes(tmp_path: Path) -> None:
    start = time.perf_counter()
    verify_in_subprocess(resolve(open_bundle(str(good(tmp_path)))))
    verify_in_subprocess(resolve(bundle_of(tmp_path, mutants.unit().SerializeToString())))
    print(f'two models verified in {time.perf_counter() - start:.2f} s')


def verify_many(models: list[bytes], repo_root: Path) -> list[str]:
    done = subprocess.run(
        [sys.executable, str(repo_root / 'test/helpers/verify_many.py')],
        input=pickle.dumps((json.dumps(UNIT_CARD).encode(), models)),
        capture_output=True,
        cwd=repo_root,
        env={**os.environ, 'PYTHONPATH': str(repo_root)},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().splitlines()


def test_c4_no_malformed_model_reaches_the_parent(tmp_path: Path, repo_root: Path) -> None:
    models = [make(seed) for make, n in ((mutants.structural, MUTANTS), (mutants.bytewise, MUTANTS // 4))
              for seed in range(n)]
    start = time.perf_counter()
    outcomes = verify_many(models, repo_root)
    counts = Counter(outcome.split()[0] for outcome in outcomes)
    print(f'{len(models)} malformed models in {time.perf_counter() - start:.1f} s: {dict(counts)}')
    assert len(outcomes) == len(models)
    assert counts['refused'] > MUTANTS / 2, 'the mutator hardly breaks anything'
    assert counts['status'] == 0
    # One of each ending in a real subprocess: the parent reports it and goes on.
    for ending in sorted(set(outcomes) - {'ok'}):
        model = models[outcomes.index(ending)]
        try:
            bundle = bundle_of(tmp_path, model)
        except ModelError:
            continue  # The check of the file has rejected it already.
        with pytest.raises(ModelError, match='rejected') as caught:
            verify_in_subprocess(resolve(bundle))
        if ending.startswith('died'):
            assert f'its test process ended with signal {ending.split()[1]}' in str(caught.value)


def test_c4_an_abort_in_the_runtime_is_reported(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path, mutants.split_that_aborts())
    with pytest.raises(ModelError, match='model rejected') as caught:
        load(str(bundle.path))
    print(onnxruntime.__version__, caught.value)
    if onnxruntime.__version__ == '1.32.0':
        assert 'its test process ended with signal 6' in str(caught.value)
    assert load(str(good(tmp_path, 'next'))).backend.provider == 'CPUExecutionProvider'


def test_c5_default_limits() -> None:
    assert ProcessLimits() == ProcessLimits(memory=2 << 30, cpu_s=10, wall_s=12.0)


def test_c5_a_model_that_allocates_64_gb_is_rejected(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path, mutants.allocates_64_gb(), ANSWER_CARD)
    start = time.perf_counter()
    with pytest.raises(ModelError, match='rejected') as caught:
        verify_in_subprocess(resolve(bundle))
    print(f'after {time.perf_counter() - start:.1f} s: {caught.value}')


@pytest.mark.parametrize(
    ('limits', 'cause'),
    [
        (ProcessLimits(cpu_s=1, wall_s=60), 'used more than 1 s of CPU time'),
        (ProcessLimits(wall_s=1.5), 'took longer than 1.5 s'),
    ],
)
def test_c5_a_model_that_runs_too_long_is_rejected(limits: ProcessLimits, cause: str, tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path, mutants.runs_for_hours(), ANSWER_CARD)
    start = time.perf_counter()
    with pytest.raises(ModelError, match=cause):
        verify_in_subprocess(resolve(bundle), limits)
    print(f'after {time.perf_counter() - start:.1f} s')


def test_c5_a_model_that_gives_nan_is_rejected(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path, mutants.answers_nan(), ANSWER_CARD)
    with pytest.raises(ModelError, match='expected finite logits, got NaN or infinity for a test image'):
        load(str(bundle.path))


def test_the_child_finds_this_package_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = good(tmp_path)
    (tmp_path / 'numpy.py').write_text('raise SystemExit("a file of the current folder was imported")')
    monkeypatch.chdir(tmp_path)
    verify_in_subprocess(resolve(open_bundle(str(path))))


def test_the_child_reports_its_cause_in_any_locale(repo_root: Path) -> None:
    command = [sys.executable, '-m', 'shufflenet_ros.backends.verify_in_subprocess', str(2 << 30), '20',
               'm.onnx', '1', '-1']
    done = subprocess.run(command, input='{"n\u00e4me": 1}\nx'.encode(), capture_output=True, timeout=60,
                          cwd=repo_root, env=os.environ | {'PYTHONIOENCODING': 'ascii:strict'})
    assert done.returncode == 3, done.stderr
    assert b'n\\xe4me' in done.stdout
