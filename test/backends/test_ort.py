# SPDX-License-Identifier: Apache-2.0
"""Rows C3 and D21: a file that isn't what its card says, and a provider that isn't there, are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
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

from shufflenet_ros.backends import ort as backend_module
from shufflenet_ros.backends.load import load
from shufflenet_ros.backends.ort import AUTO, PROVIDERS, OnnxRuntimeBackend, present_providers
from shufflenet_ros.bundles.bundle import open_bundle
from shufflenet_ros.bundles.errors import ModelError
from shufflenet_ros.bundles.golden import golden_image
from shufflenet_ros.bundles.variants import resolve
from shufflenet_ros.core.preprocess import preprocess

FLOAT, UINT8, INT64 = TensorProto.FLOAT, TensorProto.UINT8, TensorProto.INT64


def image_input(dtype: int, shape: list[Any]) -> onnx.ValueInfoProto:
    return value('image', dtype, shape)


def outputs(logits: list[Any], features: list[Any] | None) -> list[onnx.ValueInfoProto]:
    both = [value('logits', FLOAT, logits)]
    return both if features is None else [*both, value('features', FLOAT, features)]


def input_card(**changes: Any) -> dict[str, Any]:
    return card(input={**card()['input'], **changes})


BARE = card(outputs={'logits': 'logits'}, embedding=None)
C3: dict[str, tuple[onnx.ModelProto, dict[str, Any], str]] = {
    'opset too new': (
        classifier(opset=99),
        card(),
        r'expected a model that onnxruntime .* can load, got opset 99',
    ),
    'ir too new': (classifier(ir=99), card(), r'can load, got opset 17, IR version 99'),
    'dtype': (
        classifier(),
        input_card(dtype='float32'),
        r'expected input tensor\(float\) \(card field input.dtype\)',
    ),
    'graph dtype': (
        classifier(image=image_input(FLOAT, [1, SIZE, SIZE, 3])),
        card(),
        r'expected input tensor\(uint8\)',
    ),
    'rank': (
        of_any_image(image_input(UINT8, [SIZE, SIZE, 3])),
        BARE,
        r'input of shape \[1, 8, 8, 3\] .* got \[8, 8, 3\]',
    ),
    'layout': (
        of_any_image(image_input(UINT8, [1, 3, SIZE, SIZE])),
        BARE,
        r'input of shape \[1, 8, 8, 3\] \(card fields input.layout, input.size\), got \[1, 3, 8, 8\]',
    ),
    'size': (
        classifier(),
        input_card(size=[16, 16]),
        r'input of shape \[1, 16, 16, 3\] .* got \[1, 8, 8, 3\]',
    ),
    'batch': (
        classifier(image=image_input(UINT8, [2, SIZE, SIZE, 3])),
        card(),
        r'\[1, 8, 8, 3\] .* got \[2, 8, 8, 3\]',
    ),
    'extra input': (
        classifier(more_inputs=(value('mask', FLOAT, [1]),)),
        card(),
        r"expected one input, got 2: .*'mask'",
    ),
    'no logits output': (
        classifier(),
        card(outputs={'logits': 'probabilities'}),
        r"an output 'probabilities' .*outputs.log",
    ),
    'no embedding output': (
        classifier(outputs=outputs([1, CLASSES], None)),
        card(),
        r"an output 'features' .*add-embedding",
    ),
    'no labels for one': (
        classifier(),
        card(labels=['a', 'b', 'c']),
        r'shape \[1, 3\] \(card field labels\), got \[1, 4\]',
    ),
    'one label too many': (
        classifier(),
        card(labels=list('abcde')),
        r'\[1, 5\] \(card field labels\), got \[1, 4\]',
    ),
    'embedding dim': (
        classifier(),
        card(embedding={'dim': 5, 'layer': 'x'}),
        r'\[1, 5\] \(card field embedding.dim\)',
    ),
    'logits dtype': (
        of_any_image(image_input(UINT8, [1, SIZE, SIZE, 3]), INT64),
        BARE,
        r'expected logits tensor\(float\), got tensor\(int64\)',
    ),
}


@pytest.mark.parametrize(('proto', 'values', 'text'), C3.values(), ids=C3)
def test_c3_what_does_not_fit_its_card_is_refused(proto: onnx.ModelProto, values: dict[str, Any], text: str,
                                                 tmp_path: Path) -> None:
    path = write(tmp_path / 'm.onnx', proto, values)
    with pytest.raises(ModelError, match=text) as refused:
        OnnxRuntimeBackend(resolve(open_bundle(str(path))))
    assert str(path) in str(refused.value)
    assert 'got' in str(refused.value) and '; ' in str(refused.value)


@pytest.mark.parametrize('shape', [['batch', SIZE, SIZE, 3], [1, None, None, 3], ['n', 'h', 'w', 'c']])
def test_dynamic_dimensions_fit(shape: list[Any], tmp_path: Path) -> None:
    proto = classifier(image=image_input(UINT8, shape), outputs=outputs(['batch', CLASSES], ['batch', DIM]))
    backend = OnnxRuntimeBackend(resolve(open_bundle(str(write(tmp_path / 'm.onnx', proto, card())))))
    assert backend.run(np.zeros((1, SIZE, SIZE, 3), np.uint8)).logits.shape == (CLASSES,)


def test_c3_dynamic_outputs_are_held_to_the_card_when_they_come(tmp_path: Path) -> None:
    bare = card(outputs={'logits': 'some'}, embedding=None, labels=list('abcde'))
    path = write(tmp_path / 'm.onnx', of_unknown_length(), bare)
    backend = OnnxRuntimeBackend(resolve(open_bundle(str(path))))
    with pytest.raises(ModelError, match=r'logits of shape \(1, 5\), got \(1, 4\)'):
        backend.run(np.zeros((1, SIZE, SIZE, 3), np.uint8))
    with pytest.raises(ModelError, match=r'logits of shape \(1, 5\), got \(1, 4\)'):
        load(str(path))


def test_outputs_are_what_numpy_computes(tmp_path: Path) -> None:
    backend = OnnxRuntimeBackend(resolve(open_bundle(str(good(tmp_path)))))
    image = np.random.default_rng(3).integers(0, 256, (1, SIZE, SIZE, 3), np.uint8)
    got = backend.run(image)
    features = image.astype(np.float32).mean((1, 2)) @ weights()['w1']
    assert got.embedding is not None and got.embedding.dtype == got.logits.dtype == np.float32
    np.testing.assert_allclose(got.embedding, features[0], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(got.logits, (features @ weights()['w2'])[0], rtol=1e-4, atol=1e-4)


def test_without_an_embedding_output_there_is_none(tmp_path: Path) -> None:
    path = write(tmp_path / 'm.onnx', classifier(), BARE)
    assert (
        OnnxRuntimeBackend(resolve(open_bundle(str(path))))
        .run(np.zeros((1, SIZE, SIZE, 3), np.uint8)).embedding is None
    )


def test_the_runtimes_own_error_comes_through(tmp_path: Path) -> None:
    backend = OnnxRuntimeBackend(resolve(open_bundle(str(good(tmp_path)))))
    with pytest.raises(Exception, match='Got invalid dimensions'):
        backend.run(np.zeros((1, SIZE + 1, SIZE, 3), np.uint8))
    assert backend.run(np.zeros((1, SIZE, SIZE, 3), np.uint8)).logits.shape == (CLASSES,)


def test_the_golden_sample_is_checked(tmp_path: Path) -> None:
    bundle = open_bundle(str(good(tmp_path)))
    image = preprocess(golden_image(bundle.card.input.size), bundle.card.input)
    logits = [float(x) for x in OnnxRuntimeBackend(resolve(bundle)).run(image).logits]
    right = {'logits': logits, 'tolerance': 1e-3}
    assert load(str(write(tmp_path / 'right.onnx', classifier(), card(golden=right)))).card.golden
    wrong = {**right, 'logits': [x + 0.01 * max(map(abs, logits)) for x in logits]}
    path = write(tmp_path / 'wrong.onnx', classifier(), card(golden=wrong))
    with pytest.raises(
        ModelError, match=r'expected the golden logits within 0.001 .*, got 0.\d+ off on CPUExec'
    ):
        load(str(path))
    other_color = write(tmp_path / 'bgr.onnx', classifier(), input_card(color='bgr') | {'golden': right})
    with pytest.raises(ModelError, match='golden'):
        load(str(other_color))
    longer = {**right, 'logits': [*right['logits'], 1.0]}
    with pytest.raises(ModelError, match='golden'):
        load(str(write(tmp_path / 'longer.onnx', classifier(), card(golden=longer))))


@pytest.mark.parametrize('threads', [0, -1, 65])
def test_threads_have_a_range(threads: int, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=f'expected 1 to 64, got {threads}'):
        OnnxRuntimeBackend(resolve(open_bundle(str(good(tmp_path)))), threads=threads)


def test_more_threads_give_the_same_answer(tmp_path: Path) -> None:
    bundle = open_bundle(str(good(tmp_path)))
    image = np.random.default_rng(3).integers(0, 256, (1, SIZE, SIZE, 3), np.uint8)
    one, four = (OnnxRuntimeBackend(resolve(bundle), threads=n).run(image).logits for n in (1, 4))
    np.testing.assert_allclose(one, four, atol=1e-4)


def absent() -> list[str]:
    return [name for name in PROVIDERS if name not in present_providers()]


@pytest.mark.parametrize('provider', absent())
def test_d21_an_absent_provider_is_an_error_that_names_those_present(provider: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError) as refused:
        OnnxRuntimeBackend(resolve(open_bundle(str(good(tmp_path)))), provider)
    assert f"got '{provider}'" in str(refused.value)
    assert "'cpu'" in str(refused.value) and PROVIDERS[provider] in str(refused.value)


def test_d21_an_unknown_provider_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"expected one of \['auto', 'cpu', .* got 'gpu'"):
        load(str(good(tmp_path)), provider='gpu')


def test_d21_auto_chooses_says_what_and_answers_as_the_cpu_does(tmp_path: Path) -> None:
    path = str(good(tmp_path))
    auto, cpu = load(path, provider='auto'), load(path)
    assert auto.backend.provider == PROVIDERS[next(name for name in AUTO if name in present_providers())]
    assert cpu.backend.provider == 'CPUExecutionProvider'
    image = np.random.default_rng(3).integers(0, 256, (1, SIZE, SIZE, 3), np.uint8)
    np.testing.assert_allclose(auto.backend.run(image).logits, cpu.backend.run(image).logits, atol=1e-4)


@pytest.mark.skipif(
    'CUDAExecutionProvider' in ort.get_available_providers(), reason='CUDA may really start here'
)
def test_d21_a_provider_that_silently_falls_back_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stand-in for an onnxruntime with CUDA on a machine without: it warns and makes a CPU session."""
    available = ort.get_available_providers()
    monkeypatch.setattr(ort, 'get_available_providers', lambda: ['CUDAExecutionProvider', *available])
    start = backend_module.ort.InferenceSession

    def on_the_cpu(
        data: bytes, options: ort.SessionOptions, providers: list[str], **more: Any
    ) -> ort.InferenceSession:
        return start(data, options, providers=[p for p in providers if p in available], **more)
    monkeypatch.setattr(backend_module.ort, 'InferenceSession', on_the_cpu)
    bundle = open_bundle(str(good(tmp_path)))
    with pytest.raises(
        ModelError, match=r"expected 'cuda' to start, got \['CPUExecutionProvider'\]; check the driver"
    ):
        OnnxRuntimeBackend(resolve(bundle), 'cuda')
    assert OnnxRuntimeBackend(resolve(bundle), 'auto').provider == 'CPUExecutionProvider'


def test_an_unknown_backend_is_an_error(tmp_path: Path) -> None:
    expected = r"backend: expected one of \['auto', 'native', 'onnxruntime'\], got 'tflite'"
    with pytest.raises(ModelError, match=expected):
        load(str(good(tmp_path)), backend='tflite')
