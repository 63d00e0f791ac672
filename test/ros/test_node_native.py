# SPDX-License-Identifier: Apache-2.0
"""The node on native kernels: it reports what runs and why, and embeddings identify the file that ran."""

from __future__ import annotations

import re

import numpy as np
import pytest
from driving import image
from in_process import Bench, bench, unspun_node
from native_models import SIZE, native_bundle, weights
from replaying import wait_for
from shufflenet_ros_msgs.msg import Embedding

from shufflenet_ros.backends.load import load
from shufflenet_ros.backends.native import VARIABLE
from shufflenet_ros.bundles.files import sha256_of
from shufflenet_ros.ros.node import FAILURE


@pytest.fixture(autouse=True)
def built(native_library, monkeypatch):
    """Use the library of the present sources."""
    monkeypatch.setenv(VARIABLE, str(native_library))


@pytest.fixture
def bundle(tmp_path):
    return native_bundle(tmp_path / 'm.onnx', precisions=('fp32', 'fp16'))


def values_when_active(b: Bench) -> dict[str, str]:
    b.bring_to('active')
    return b.status_when('node', lambda s: s.values['state'] == 'active', 'the node').values


def choice_logged(capfd: pytest.CaptureFixture[str]) -> str:
    """The line about the choice, without its time stamp."""
    return re.findall(r'.*runs on .*', re.sub(r'\[\d+\.\d+\] ', '', capfd.readouterr().err))[0]


@pytest.mark.parametrize(('requested', 'file', 'backend', 'precision', 'why'), [
    ({'precision': 'fp16'}, 'm-fp16.native', 'native', 'fp16', 'nothing else in the bundle fits'),
    ({'backend': 'native'}, 'm-fp32.native', 'native', 'fp32', 'it was requested'),
    ({'backend': 'onnxruntime'}, 'm.onnx', 'onnxruntime', 'fp32', 'it was requested'),
])
def test_it_runs_what_is_requested_and_reports_it(context, bundle, capfd, requested, file, backend, precision,
                                                  why):
    digest = sha256_of(bundle.with_name(file).read_bytes())
    pixels = np.random.default_rng(8).integers(0, 256, (*SIZE, 3), np.uint8)
    with bench(context, bundle, l2_normalize=False, **requested) as b:
        values = values_when_active(b)
        assert {key: values[key] for key in ('sha256', 'backend', 'precision', 'backend_reason')} == {
            'sha256': digest, 'backend': backend, 'precision': precision, 'backend_reason': why}
        heard: list[Embedding] = b.hear(Embedding, f'{b.name}/embedding')
        camera = b.camera()
        wait_for(lambda: camera.publish(image(pixels, 'rgb8')) or heard, 'an embedding')
    assert heard[0].model_sha256 == digest
    loaded = load(str(bundle), **requested)
    embedding = loaded.backend.run(pixels[None]).embedding
    np.testing.assert_array_equal(np.asarray(heard[0].data, np.float32), embedding)
    assert values['provider'] == loaded.backend.provider
    assert choice_logged(capfd) == f'[INFO] [shufflenet]: runs on {loaded.choice}'


def test_auto_runs_the_fastest_that_fits_and_shows_the_timings(context, bundle, capfd):
    with bench(context, bundle) as b:
        values = values_when_active(b)
    both = r'(native fp32|onnxruntime fp32) [0-9.]+ ms'
    assert re.fullmatch(f'{both}, {both}', values['timings']), values['timings']
    assert values['timings'].startswith(f'{values["backend"]} {values["precision"]} ')
    assert values['backend_reason'] == f'the fastest here of {values["timings"]} (measured now)'
    assert choice_logged(capfd).startswith(f'[INFO] [shufflenet]: runs on {values["backend"]} fp32')


def test_a_variant_that_fails_is_a_warning(context, tmp_path, capfd):
    bundle = native_bundle(tmp_path / 'm.onnx', blob_of=weights(4))
    with bench(context, bundle) as b:
        values = values_when_active(b)
    assert (values['backend'], values['sha256']) == ('onnxruntime', sha256_of(bundle.read_bytes()))
    assert "expected logits within 0.001 of the graph's" in values['backend_reason']
    assert choice_logged(capfd).startswith(
        '[WARN] [shufflenet]: runs on onnxruntime fp32 (CPUExecutionProvider): ')


@pytest.mark.parametrize(('requested', 'cause'), [
    ({'precision': 'int8'}, "fp32, fp16, got 'int8'"),
    ({'backend': 'onnxruntime', 'precision': 'fp16'}, "for backend onnxruntime: fp32, got 'fp16'"),
    ({'backend': 'native', 'threads': 2}, 'threads: expected 1 with backend native, got 2'),
    ({'backend': 'tflite'}, "parameter backend: got 'tflite', expected auto or native or onnxruntime"),
    ({'precision': 'half'}, "got 'half', expected auto or fp32 or fp16 or int8"),
])
def test_a_request_that_cannot_be_met_keeps_it_unconfigured(context, bundle, requested, cause):
    with unspun_node(context, model=bundle, **requested) as node:
        assert node.trigger_configure() == FAILURE and node.state == 'unconfigured'
        assert cause in node.failure
