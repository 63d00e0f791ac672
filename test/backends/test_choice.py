# SPDX-License-Identifier: Apache-2.0
"""What `auto` runs: the fastest candidate that the card allows, measured once and then remembered."""

import json
import shutil
import sys
import sysconfig
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from native_models import native_bundle

from shufflenet_ros.backends import load as load_module
from shufflenet_ros.backends import native, verify
from shufflenet_ros.backends.load import LoadedModel, load
from shufflenet_ros.backends.native import VARIABLE, NativeBackend
from shufflenet_ros.bundles.bundle import open_bundle
from shufflenet_ros.bundles.errors import ModelError
from shufflenet_ros.bundles.variants import (
    LoadRequest,
    VariantUnavailableError,
    accuracy_loss,
    find_candidates,
    resolve_variant,
)

GRAPH = {'top1': 0.80, 'images': 500}


@pytest.fixture(scope='module')
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a bundle whose fp16 variant loses nothing, and whose int8 variant loses a point."""
    folder = tmp_path_factory.mktemp('made')
    path = native_bundle(folder / 'm.onnx', precisions=('fp16', 'int8'), metrics=GRAPH)
    with_top1(path, {'fp16': 0.80, 'int8': 0.79})
    return folder


@pytest.fixture
def measured(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the bundle, treated as trusted."""
    monkeypatch.setattr(load_module, 'verify_in_subprocess', lambda *_, **__: None)
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return tmp_path / 'm.onnx'


def edit_variants(path: Path, change: Callable[[str], dict[str, Any]]) -> Path:
    """The bundle with fields changed in its card's entries of variants; `change` gets a precision."""
    card = Path(f'{path}.card.json')
    values = json.loads(card.read_text())
    values['variants'] = [variant | change(variant['precision']) for variant in values['variants']]
    card.write_text(json.dumps(values))
    return path


def with_top1(path: Path, top1: Mapping[str, float]) -> Path:
    return edit_variants(path, lambda precision: {'metrics': {'top1': top1[precision], 'images': 500}})


def names(path: Path, **options: Any) -> list[str]:
    request = LoadRequest(**{'backend': 'auto', 'precision': 'auto', 'provider': 'cpu', 'threads': 1,
                            'max_accuracy_loss': 0.6} | options)
    return list(find_candidates(open_bundle(str(path)), request))


@pytest.fixture
def timing_table(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Milliseconds that `measure` reports for each candidate, in place of real timings; counts its calls."""
    table = {'native fp16': 1.0, 'native int8': 0.5, 'native fp32': 1.0, 'onnxruntime fp32': 2.0}

    def measure(backends: Mapping[str, Any], *_: Any) -> dict[str, float]:
        table['measured'] = table.get('measured', 0) + 1
        return dict(sorted(((name, table[name]) for name in backends), key=lambda item: item[1]))
    monkeypatch.setattr(load_module, 'measure', measure)
    return table


@pytest.mark.parametrize(('options', 'expected'), [
    ({}, ['native fp16', 'onnxruntime fp32']),
    ({'max_accuracy_loss': 1.0}, ['native fp16', 'native int8', 'onnxruntime fp32']),
    ({'max_accuracy_loss': 0.0}, ['native fp16', 'onnxruntime fp32']),
    ({'precision': 'int8'}, ['native int8']),
    ({'precision': ''}, ['onnxruntime fp32']),
    ({'backend': 'native'}, ['native fp16']),
    ({'backend': 'onnxruntime'}, ['onnxruntime fp32']),
    ({'threads': 2}, ['onnxruntime fp32']),
    ({'provider': 'cuda'}, ['onnxruntime fp32']),
])
def test_the_card_says_what_may_run(measured: Path, options: dict[str, Any], expected: list[str]) -> None:
    assert names(measured, **options) == expected


@pytest.mark.parametrize(('graph', 'variant', 'loss'), [
    (GRAPH, {'top1': 0.795, 'images': 500}, 0.5),
    (GRAPH, {'top1': 0.81, 'images': 500}, -1.0),
    (GRAPH, {'top1': 0.80, 'images': 100}, np.inf),
    (GRAPH, {}, np.inf),
    ({'top1': 0.80}, {'top1': 0.80}, np.inf),
    ({}, {'top1': 0.80, 'images': 500}, np.inf),
    ({'top1': 'good', 'images': 500}, {'top1': 0.8, 'images': 500}, np.inf),
    ({'top1': 80, 'images': 500}, {'top1': 79, 'images': 500}, np.inf),
])
def test_a_loss_counts_only_if_both_were_measured_on_the_same_images(measured: Path, graph: dict[str, Any],
                                                           variant: dict[str, Any], loss: float) -> None:
    card = replace(open_bundle(str(measured)).card, metrics=graph)
    assert accuracy_loss(card, replace(card.variants[0], metrics=variant)) == loss
    assert accuracy_loss(card, None) == 0


def test_a_variant_without_metrics_runs_only_if_requested(measured: Path) -> None:
    path = edit_variants(measured, lambda _: {'metrics': {}})
    loaded = load(str(path))
    assert loaded.backend.name == 'onnxruntime' and not loaded.timings
    assert loaded.reason == ('no variant is known to lose at most 0.6 points of top-1: fp16 has no figures, '
                          'int8 has no figures')
    assert load(str(path), precision='int8').precision == 'int8'
    with pytest.raises(ModelError, match='a native variant that loses at most 0.6 points of top-1, got fp16 '
                                         'has no figures.*name its precision'):
        load(str(path), backend='native')


def test_backend_native_without_the_graphs_precision_lists_the_available_ones(measured: Path) -> None:
    with pytest.raises(ModelError, match="expected a precision that the bundle has for backend native: fp16, "
                                         "int8, got 'fp32'"):
        load(str(measured), backend='native', precision='')


def test_the_fastest_runs_and_the_log_has_all_timings(measured: Path, timing_table: dict[str, float]) -> None:
    loaded = load(str(measured), max_accuracy_loss=1.0)
    assert (loaded.backend.name, loaded.precision) == ('native', 'int8')
    assert loaded.timings == 'native int8 0.50 ms, native fp16 1.00 ms, onnxruntime fp32 2.00 ms'
    assert loaded.choice == (f'native int8 ({loaded.backend.provider}): the fastest here of {loaded.timings} '
                             '(measured now)')
    timing_table['onnxruntime fp32'] = 0.1
    timing_table['native fp16'] = 0.2
    assert load(str(measured)).backend.name == 'onnxruntime', 'another request is measured again'


def test_timings_are_saved_for_the_next_start(measured: Path, timing_table: dict[str, float],
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(str(measured))
    started: list[str] = []
    start = load_module._start

    def note(bundle: Any, variant: Any, request: Any) -> LoadedModel:
        started.append(variant.precision if variant else 'graph')
        return start(bundle, variant, request)
    monkeypatch.setattr(load_module, '_start', note)
    second = load(str(measured))
    assert timing_table['measured'] == 1 and started == ['fp16'], 'the others are not even started'
    assert second.reason == first.reason.replace('measured now', 'measured at an earlier start')
    with_top1(measured, {'fp16': 0.799, 'int8': 0.79})
    load(str(measured))
    assert timing_table['measured'] == 2, 'another card, other timings'


def test_another_library_is_another_machine(measured: Path, timing_table: dict[str, float], tmp_path: Path,
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    load(str(measured))
    copy = tmp_path / 'copy.so'
    copy.write_bytes(native.library_path().read_bytes() + b'\0')
    monkeypatch.setenv(VARIABLE, str(copy))
    load(str(measured))
    assert timing_table['measured'] == 2


@pytest.mark.parametrize('content', [b'', b'{', b'[]', b'{"schema": 1}', b'[' * 5000,
                                     b'{"schema": 2, "timings_ms": {"native fp16": 1.0}}',
                                     b'{"schema": 1, "timings_ms": {}}',
                                     b'{"schema": 1, "timings_ms": {"native fp64": 1.0}}',
                                     b'{"schema": 1, "timings_ms": {"native fp16": "y"}}',
                                     b'{"schema": 1, "timings_ms": [1]}'])
def test_damaged_timings_are_measured_again(measured: Path, timing_table: dict[str, float], no_cache: Path,
                                            content: bytes) -> None:
    load(str(measured))
    file, = (no_cache / 'shufflenet_ros' / 'choices').iterdir()
    file.write_bytes(content)
    assert load(str(measured)).precision == 'fp16'
    assert timing_table['measured'] == 2
    assert load(str(measured)).reason.endswith('(measured at an earlier start)')


def test_a_choice_that_no_longer_runs_is_measured_again(measured: Path,
                                                        timing_table: dict[str, float]) -> None:
    assert load(str(measured)).backend.name == 'native'
    (measured.parent / 'm-fp16.native').unlink()
    loaded = load(str(measured))
    assert loaded.backend.name == 'onnxruntime' and loaded.fallback
    assert 'native fp16 is left out' in loaded.reason and 'no such file' in loaded.reason


def test_a_variant_that_fails_is_reported_at_every_start(measured: Path, timing_table: dict[str, float],
                                                     no_cache: Path) -> None:
    (measured.parent / 'm-fp16.native').unlink()
    for _ in range(2):
        loaded = load(str(measured), max_accuracy_loss=1.0)
        assert loaded.precision == 'int8' and loaded.fallback and 'native fp16 is left out' in loaded.reason
    assert not (no_cache / 'shufflenet_ros').exists()


def test_a_disk_that_cannot_be_written_measures_at_every_start(measured: Path, timing_table: dict[str, float],
                                                               no_cache: Path) -> None:
    (no_cache / 'shufflenet_ros').write_text('a file where a folder should be')
    for _ in range(2):
        assert load(str(measured)).precision == 'fp16'
    assert timing_table['measured'] == 2


@pytest.fixture
def without_onnxruntime(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which `import onnxruntime` fails."""
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    monkeypatch.delitem(sys.modules, 'shufflenet_ros.backends.ort', raising=False)


def with_golden(path: Path) -> Path:
    """The bundle with the variants' own logits in its card, as `models pack` writes them."""
    bundle = open_bundle(str(path))

    def golden(precision: str) -> dict[str, Any]:
        backend = NativeBackend(resolve_variant(bundle, 'native', precision))
        return {'golden': asdict(verify.golden_of(backend, bundle.card, 0.05))}
    return edit_variants(path, golden)


def test_native_variants_run_without_onnxruntime(measured: Path, timing_table: dict[str, float],
                                                 without_onnxruntime: None) -> None:
    loaded = load(str(with_golden(measured)), max_accuracy_loss=1.0)
    assert (loaded.backend.name, loaded.precision, loaded.fallback) == ('native', 'int8', False)
    assert 'onnxruntime fp32 is left out: onnxruntime cannot be imported' in loaded.reason
    load(str(measured), max_accuracy_loss=1.0)
    assert timing_table['measured'] == 1, 'no reason to measure at every start'


def test_a_machine_with_neither_runtime_reports_what_is_missing(measured: Path, without_onnxruntime: None,
                                                     tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / 'gone.so'))
    with pytest.raises(VariantUnavailableError,
                       match=r'nothing can run it here: .*gone\.so: no such file; correct '
                             r'SHUFFLENET_NATIVE_LIBRARY.*; onnxruntime cannot be imported'):
        load(str(measured))


@pytest.mark.parametrize(('environment', 'guarded', 'options'), [
    (True, True, []),
    (False, False, ['--user']),  # Ubuntu 22.04
    (False, True, ['--user', '--break-system-packages']),  # 24.04 and later
])
def test_a_build_without_kernels_and_onnxruntime_gives_the_commands(
        measured: Path, without_onnxruntime: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        environment: bool, guarded: bool, options: list[str]) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(native, 'FILE', 'not_built.so')
    monkeypatch.setattr(sys, 'base_prefix', str(tmp_path) if environment else sys.prefix)
    monkeypatch.setattr(sysconfig, 'get_path', lambda name: str(tmp_path))
    if guarded:
        (tmp_path / 'EXTERNALLY-MANAGED').touch()
    with pytest.raises(VariantUnavailableError) as caught:
        load(str(measured), max_accuracy_loss=1.0)
    text = str(caught.value)
    assert text.count('the native kernels are not built') == 1, 'said once for both variants'
    assert 'sudo apt install gcc' in text and 'colcon' in text
    assert text.endswith(' '.join([sys.executable, '-m pip install --no-deps', *options, 'onnxruntime']))


def test_candidates_are_timed_in_rounds_within_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    calls: list[str] = []

    def backend(name: str, seconds: float) -> Any:
        def run(_: Any) -> None:
            calls.append(name)
            now[0] += seconds
        return SimpleNamespace(run=run)
    monkeypatch.setattr(load_module.time, 'monotonic', lambda: now[0])
    found = load_module.measure({'quick': backend('quick', 0.002), 'slow': backend('slow', 0.010)}, None,
                                lambda: now[0])
    assert found == pytest.approx({'quick': 2.0, 'slow': 10.0})
    assert now[0] <= load_module.BUDGET_S and len(calls) >= 4 * 8
    assert calls[:8] == ['quick', 'quick', 'slow', 'slow'] * 2
    now[0], calls[:] = 0.0, []
    load_module.measure({'slow': backend('slow', 3.0)}, None, lambda: now[0])
    assert calls == ['slow', 'slow'], 'at least one round'
