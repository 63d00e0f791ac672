# SPDX-License-Identifier: Apache-2.0
"""Rows C3 and D21: a file that does not match its card, and a missing provider, are rejected."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto
from onnx_models import (
    CLASSES,
    DIM,
    SIZE,
    card,
    classifier,
    good,
    of_any_image,
    of_unknown_length,
    value,
    weights,
    write,
)

from shufflenet_ros.backends.load import load
from shufflenet_ros.backends.ort import AUTO, PROVIDERS, OnnxRuntimeBackend, present_providers
from shufflenet_ros.bundles.bundle import open_bundle
from shufflenet_ros.bundles.errors import ModelError
from shufflenet_ros.bundles.golden import golden_image
from shufflenet_ros.bundles.variants import resolve
from shufflenet_ros.core.preprocess import preprocess

FLOAT, UINT8, INT64 = TensorProto.FLOAT, TensorProto.UINT8, TensorProto.INT64
BLACK = np.zeros((1, SIZE, SIZE, 3), np.uint8)
NOISE = np.random.default_rng(3).integers(0, 256, (1, SIZE, SIZE, 3), np.uint8)


def started(path: Path, provider: str = 'cpu', threads: int = 1) -> OnnxRuntimeBackend:
    return OnnxRuntimeBackend(resolve(open_bundle(str(path))), provider, threads)


def image_input(dtype: int, *shape: Any) -> onnx.ValueInfoProto:
    return value('image', dtype, list(shape))


def outputs(logits: list[Any], features: list[Any] | None) -> list[onnx.ValueInfoProto]:
    both = [value('logits', FLOAT, logits)]
    return both if features is None else [*both, value('features', FLOAT, features)]


def input_card(**changes: Any) -> dict[str, Any]:
    return card(input={**card()['input'], **changes})


BARE = card(outputs={'logits': 'logits'}, embedding=None)
C3: dict[str, tuple[onnx.ModelProto, dict[str, Any], str]] = {
    'opset too new': (classifier(opset=99), card(),
                      r'expected a model that onnxruntime .* can load, got opset 99'),
    'ir too new': (classifier(ir=99), card(), r'can load, got opset 17, IR version 99'),
    'dtype': (classifier(), input_card(dtype='float32'),
              r'expected input tensor\(float\) \(card field input.dtype\)'),
    'graph dtype': (classifier(image=image_input(FLOAT, 1, SIZE, SIZE, 3)), card(),
                    r'expected input tensor\(uint8\)'),
    'rank': (of_any_image(image_input(UINT8, SIZE, SIZE, 3)), BARE,
             r'input of shape \[1, 8, 8, 3\] .* got \[8, 8, 3\]'),
    'layout': (of_any_image(image_input(UINT8, 1, 3, SIZE, SIZE)), BARE,
               r'input of shape \[1, 8, 8, 3\] \(card fields input.layout, input.size\), got \[1, 3, 8, 8\]'),
    'size': (classifier(), input_card(size=[16, 16]),
             r'input of shape \[1, 16, 16, 3\] .* got \[1, 8, 8, 3\]'),
    'batch': (classifier(image=image_input(UINT8, 2, SIZE, SIZE, 3)), card(),
              r'\[1, 8, 8, 3\] .* got \[2, 8, 8, 3\]'),
    'extra input': (classifier(more_inputs=(value('mask', FLOAT, [1]),)), card(),
                    r"expected one input, got 2: .*'mask'"),
    'no logits output': (classifier(), card(outputs={'logits': 'probabilities'}),
                         r"an output 'probabilities' .*outputs.log"),
    'no embedding output': (classifier(outputs=outputs([1, CLASSES], None)), card(),
                            r"an output 'features' .*add-embedding"),
    'no labels for one': (classifier(), card(labels=['a', 'b', 'c']),
                          r'shape \[1, 3\] \(card field labels\), got \[1, 4\]'),
    'one label too many': (classifier(), card(labels=list('abcde')),
                           r'\[1, 5\] \(card field labels\), got \[1, 4\]'),
    'embedding dim': (classifier(), card(embedding={'dim': 5, 'layer': 'x'}),
                      r'\[1, 5\] \(card field embedding.dim\)'),
    'logits dtype': (of_any_image(image_input(UINT8, 1, SIZE, SIZE, 3), INT64), BARE,
                     r'expected logits tensor\(float\), got tensor\(int64\)'),
}


@pytest.mark.parametrize(('proto', 'values', 'text'), C3.values(), ids=C3)
def test_c3_a_file_that_does_not_match_its_card_is_rejected(
        proto: onnx.ModelProto, values: dict[str, Any], text: str, tmp_path: Path) -> None:
    path = write(tmp_path / 'm.onnx', proto, values)
    with pytest.raises(ModelError, match=text) as rejected:
        started(path)
    assert str(path) in str(rejected.value)
    assert 'got' in str(rejected.value) and '; ' in str(rejected.value)


@pytest.mark.parametrize('shape', [['batch', SIZE, SIZE, 3], [1, None, None, 3], ['n', 'h', 'w', 'c']])
def test_dynamic_dimensions_fit(shape: list[Any], tmp_path: Path) -> None:
    proto = classifier(image=image_input(UINT8, *shape), outputs=outputs(['batch', CLASSES], ['batch', DIM]))
    backend = started(write(tmp_path / 'm.onnx', proto, card()))
    assert backend.run(BLACK).logits.shape == (CLASSES,)


def test_c3_dynamic_outputs_are_checked_on_every_frame(tmp_path: Path) -> None:
    bare = card(outputs={'logits': 'some'}, embedding=None, labels=list('abcde'))
    path = write(tmp_path / 'm.onnx', of_unknown_length(), bare)
    for run in (lambda: started(path).run(BLACK), lambda: load(str(path))):
        with pytest.raises(ModelError, match=r'logits of shape \(1, 5\), got \(1, 4\)'):
            run()


def test_outputs_are_what_numpy_computes(tmp_path: Path) -> None:
    got = started(good(tmp_path)).run(NOISE)
    features = NOISE.astype(np.float32).mean((1, 2)) @ weights()['w1']
    assert got.embedding is not None and got.embedding.dtype == got.logits.dtype == np.float32
    np.testing.assert_allclose(got.embedding, features[0], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(got.logits, (features @ weights()['w2'])[0], rtol=1e-4, atol=1e-4)
    assert started(write(tmp_path / 'bare.onnx', classifier(), BARE)).run(BLACK).embedding is None


def test_an_error_of_onnxruntime_is_passed_on(tmp_path: Path) -> None:
    backend = started(good(tmp_path))
    with pytest.raises(Exception, match='Got invalid dimensions'):
        backend.run(np.zeros((1, SIZE + 1, SIZE, 3), np.uint8))
    assert backend.run(BLACK).logits.shape == (CLASSES,)


def test_the_golden_sample_is_checked(tmp_path: Path) -> None:
    path = good(tmp_path)
    spec = open_bundle(str(path)).card.input
    logits = [float(x) for x in started(path).run(preprocess(golden_image(spec.size), spec)).logits]
    right = {'logits': logits, 'tolerance': 1e-3}
    assert load(str(write(tmp_path / 'right.onnx', classifier(), card(golden=right)))).card.golden
    wrong = {**right, 'logits': [x + 0.01 * max(map(abs, logits)) for x in logits]}
    longer = {**right, 'logits': [*logits, 1.0]}
    for values, cause in ((card(golden=wrong), r'within 0.001 .*, got 0.\d+ off on CPUExec'),
                          (input_card(color='bgr') | {'golden': right}, ''), (card(golden=longer), '')):
        with pytest.raises(ModelError, match=f'expected the golden logits {cause}'):
            load(str(write(tmp_path / 'wrong.onnx', classifier(), values)))


@pytest.mark.parametrize('threads', [0, -1, 65])
def test_threads_have_a_range(threads: int, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=f'expected 1 to 64, got {threads}'):
        started(good(tmp_path), threads=threads)


def test_more_threads_give_the_same_results(tmp_path: Path) -> None:
    one, four = (started(good(tmp_path), threads=n).run(NOISE).logits for n in (1, 4))
    np.testing.assert_allclose(one, four, atol=1e-4)


@pytest.mark.parametrize('provider', [name for name in PROVIDERS if name not in present_providers()])
def test_d21_an_absent_provider_is_an_error_that_names_those_present(provider: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError) as rejected:
        started(good(tmp_path), provider)
    assert f"got '{provider}'" in str(rejected.value)
    assert "'cpu'" in str(rejected.value) and PROVIDERS[provider] in str(rejected.value)


@pytest.mark.parametrize(('options', 'cause'), [
    ({'provider': 'gpu'}, r"expected one of \['auto', 'cpu', .* got 'gpu'"),
    ({'backend': 'tflite'}, r"backend: expected one of \['auto', 'native', 'onnxruntime'\], got 'tflite'"),
])
def test_d21_an_unknown_provider_or_backend_is_an_error(options: dict[str, str], cause: str,
                                                        tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=cause):
        load(str(good(tmp_path)), **options)  # type: ignore[arg-type]


def test_d21_auto_reports_what_it_chose_and_gives_the_results_of_the_cpu(tmp_path: Path) -> None:
    path = str(good(tmp_path))
    auto, cpu = load(path, provider='auto'), load(path)
    assert auto.backend.provider == PROVIDERS[next(name for name in AUTO if name in present_providers())]
    assert cpu.backend.provider == 'CPUExecutionProvider'
    np.testing.assert_allclose(auto.backend.run(NOISE).logits, cpu.backend.run(NOISE).logits, atol=1e-4)


@pytest.mark.skipif('cuda' in present_providers(), reason='CUDA may really start here')
def test_d21_a_provider_that_silently_falls_back_is_an_error(tmp_path: Path,
                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    """Imitates an onnxruntime with CUDA on a machine without: it warns and makes a CPU session."""
    available, session = onnxruntime.get_available_providers(), onnxruntime.InferenceSession
    monkeypatch.setattr(onnxruntime, 'get_available_providers', lambda: ['CUDAExecutionProvider', *available])

    def on_the_cpu(*arguments: Any, providers: list[str], **more: Any) -> onnxruntime.InferenceSession:
        return session(*arguments, providers=[p for p in providers if p in available], **more)
    monkeypatch.setattr(onnxruntime, 'InferenceSession', on_the_cpu)
    path = good(tmp_path)
    with pytest.raises(
            ModelError, match=r"expected 'cuda' to start, got \['CPUExecutionProvider'\]; check the driver"):
        started(path, 'cuda')
    assert started(path, 'auto').provider == 'CPUExecutionProvider'


def test_running_a_model_sends_no_telemetry(tmp_path: Path, repo_root: Path) -> None:
    """The reports of onnxruntime have a device id, which it stores in the cache folder."""
    code = 'import sys; from shufflenet_ros.backends.ort import ort; ort.InferenceSession(sys.argv[1])'
    home = tmp_path / 'home'
    home.mkdir()
    environment = {key: text for key, text in os.environ.items() if key != 'ORT_DISABLE_TELEMETRY'}
    environment |= {'HOME': str(home), 'XDG_CACHE_HOME': str(home / '.cache')}
    subprocess.run([sys.executable, '-c', code, str(good(tmp_path))], env=environment, cwd=repo_root,
                   check=True)
    assert list(home.rglob('*')) == []
