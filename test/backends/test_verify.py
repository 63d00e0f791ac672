# SPDX-License-Identifier: Apache-2.0
"""Rows C4 and C5: no malformed or greedy model ends or blocks the process that loads it."""

import json
import os
import pickle
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import mutants
import onnxruntime
import pytest
from onnx_models import card, good

from shufflenet_ros.backends.load import load
from shufflenet_ros.backends.verify import ProcessLimits, verify_in_subprocess
from shufflenet_ros.bundles.bundle import open_bundle
from shufflenet_ros.bundles.errors import ModelError
from shufflenet_ros.bundles.variants import ResolvedModel, resolve

MUTANTS = 400 if os.environ.get('SHUFFLENET_TEST_FULL') else 200


def opened(folder: Path, data: bytes, output: str = 'answer') -> ResolvedModel:
    """A file with these bytes, and a card beside it that names an output for the logits."""
    path = folder / 'm.onnx'
    path.write_bytes(data)
    (folder / 'm.onnx.card.json').write_text(json.dumps(card(outputs={'logits': output}, embedding=None)))
    return resolve(open_bundle(str(path)))


def test_c4_no_malformed_model_reaches_the_parent(tmp_path: Path, repo_root: Path) -> None:
    start, unreadable = time.perf_counter(), 0
    models = [opened(tmp_path, mutants.unit().SerializeToString(), 'logits')]
    for make, count in ((mutants.structural, MUTANTS), (mutants.bytewise, MUTANTS // 4)):
        for seed in range(count):
            try:
                models.append(opened(tmp_path, make(seed), 'logits'))
            except ModelError:
                unreadable += 1
    done = subprocess.run([sys.executable, str(repo_root / 'test/helpers/verify_many.py')],
                          input=pickle.dumps(models), capture_output=True, cwd=repo_root,
                          env={**os.environ, 'PYTHONPATH': str(repo_root)}, timeout=300)
    assert done.returncode == 0, done.stderr.decode()
    outcomes = done.stdout.decode().splitlines()
    counts = Counter(outcome.split()[0] for outcome in outcomes)
    print(f'{len(models)} malformed models in {time.perf_counter() - start:.1f} s: {dict(counts)}, '
          f'{unreadable} unreadable')
    assert len(outcomes) == len(models) and outcomes[0] == 'ok'
    assert counts['rejected'] + unreadable > MUTANTS / 2, 'the mutator hardly breaks anything'
    assert counts['status'] == 0
    # One of each ending in a real subprocess: the parent reports it and goes on.
    for ending in sorted(set(outcomes) - {'ok'}):
        cause = f'its test process ended with signal {ending.split()[1]}' if ' ' in ending else 'rejected'
        with pytest.raises(ModelError, match=cause):
            verify_in_subprocess(models[outcomes.index(ending)])


def test_c4_an_abort_in_the_runtime_is_reported(tmp_path: Path) -> None:
    model = opened(tmp_path, mutants.split_that_aborts(), 'logits')
    with pytest.raises(ModelError, match='model rejected') as caught:
        load(str(model.path))
    print(onnxruntime.__version__, caught.value)
    if onnxruntime.__version__ == '1.32.0':
        assert 'its test process ended with signal 6' in str(caught.value)
    assert load(str(good(tmp_path, 'next'))).backend.provider == 'CPUExecutionProvider'


@pytest.mark.parametrize(('data', 'limits', 'cause'), [
    (mutants.allocates_64_gb, ProcessLimits(), 'rejected'),
    (mutants.runs_for_hours, ProcessLimits(cpu_s=1, wall_s=60), 'used more than 1 s of CPU time'),
    (mutants.runs_for_hours, ProcessLimits(wall_s=1.5), 'took longer than 1.5 s'),
    (mutants.gives_nan, ProcessLimits(), 'expected finite logits, got NaN or infinity for a test image'),
])
def test_c5_a_greedy_or_wrong_model_is_rejected(data: Callable[[], bytes], limits: ProcessLimits, cause: str,
                                                tmp_path: Path) -> None:
    model, start = opened(tmp_path, data()), time.perf_counter()
    with pytest.raises(ModelError, match=cause) as caught:
        verify_in_subprocess(model, limits)
    print(f'after {time.perf_counter() - start:.1f} s: {caught.value}')


def test_the_child_finds_this_package_from_any_folder(tmp_path: Path,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    path = good(tmp_path)
    (tmp_path / 'numpy.py').write_text('raise SystemExit("a file of the current folder was imported")')
    monkeypatch.chdir(tmp_path)
    verify_in_subprocess(resolve(open_bundle(str(path))))


def test_the_child_reports_its_cause_in_any_locale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('PYTHONIOENCODING', 'ascii:strict')
    model = replace(opened(tmp_path, mutants.gives_nan()), path=Path('n\u00e4me.onnx'))
    with pytest.raises(ModelError, match=r'n\\xe4me\.onnx: expected finite logits'):
        verify_in_subprocess(model)
