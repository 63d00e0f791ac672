# SPDX-License-Identifier: Apache-2.0
"""The node on native kernels: it runs them, says what runs and why, and embeddings tell which file ran."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2')
pytest.importorskip('onnx', reason='needs the extra export')


from driving import Driver, active_node, image, ros_arguments
from lifecycle_msgs.msg import Transition
from native_models import SIZE, native_bundle, weights
from replaying import process, wait_for
from shufflenet_ros_msgs.msg import Embedding

from shufflenet_ros.backends.load import load
from shufflenet_ros.backends.native import VARIABLE
from shufflenet_ros.bundles.files import sha256_of


@pytest.fixture(autouse=True)
def built(native_library: Path, own_domain: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library as the sources are now, for the node's process too."""
    monkeypatch.setenv(VARIABLE, str(native_library))


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return native_bundle(tmp_path / 'm.onnx', precisions=('fp32', 'fp16'))


def file_of(bundle: Path, precision: str) -> Path:
    return bundle.with_name(f'{bundle.stem}-{precision}.native') if precision else bundle


@pytest.mark.parametrize(('asked', 'file', 'backend', 'precision', 'why'), [
    ({'precision': 'fp16'}, 'fp16', 'native', 'fp16', 'nothing else in the bundle fits'),
    ({'backend': 'native'}, 'fp32', 'native', 'fp32', 'it was requested'),
    ({'backend': 'onnxruntime'}, '', 'onnxruntime', 'fp32', 'it was requested'),
])
def test_it_runs_what_is_asked_for_and_says_so(
        drive: Driver, bundle: Path, tmp_path: Path, asked: dict[str, Any], file: str, backend: str,
        precision: str, why: str) -> None:
    digest = sha256_of(file_of(bundle, file).read_bytes())
    pixels = np.random.default_rng(8).integers(0, 256, (*SIZE, 3), np.uint8)
    log = tmp_path / 'node.log'
    heard: list[Embedding] = drive.hear(Embedding, '/shufflenet/embedding')
    with active_node(drive, log, {'model': bundle, 'l2_normalize': False} | asked):
        said = drive.status_when('node', lambda s: s.values.get('state') == 'active', 'the node').values
        assert {key: said[key] for key in ('sha256', 'backend', 'precision', 'backend_reason')} == {
            'sha256': digest, 'backend': backend, 'precision': precision, 'backend_reason': why}
        camera = drive.camera()
        wait_for(lambda: camera.publish(image(pixels, 'rgb8')) or heard, 'an embedding')
        assert heard[0].model_sha256 == digest
    loaded = load(str(bundle), **asked)
    embedding = loaded.backend.run(pixels[None]).embedding
    np.testing.assert_array_equal(np.asarray(heard[0].data, np.float32), embedding)
    assert said['provider'] == loaded.backend.provider
    assert f'[INFO] [shufflenet]: runs on {loaded.choice}' in _plain(log)


def test_auto_runs_one_of_those_that_fit_and_shows_the_timings(drive: Driver, bundle: Path,
                                                               tmp_path: Path) -> None:
    log = tmp_path / 'node.log'
    with active_node(drive, log, {'model': bundle}):
        said = drive.status_when('node', lambda s: s.values.get('state') == 'active', 'the node').values
    both = r'(native fp32|onnxruntime fp32) [0-9.]+ ms'
    assert re.fullmatch(f'{both}, {both}', said['timings']), said['timings']
    assert said['timings'].startswith(f'{said["backend"]} {said["precision"]} ')
    assert said['backend_reason'] == f'the fastest here of {said["timings"]} (measured now)'
    assert f'[INFO] [shufflenet]: runs on {said["backend"]} fp32' in _plain(log)


def _plain(log: Path) -> str:
    """A log without its time stamps."""
    return re.sub(r'\[\d+\.\d+\] ', '', log.read_text())


def test_a_variant_that_fails_is_a_warning(drive: Driver, tmp_path: Path) -> None:
    bundle = native_bundle(tmp_path / 'm.onnx', blob_of=weights(4))
    log = tmp_path / 'node.log'
    with active_node(drive, log, {'model': bundle}):
        said = drive.status_when('node', lambda s: s.values.get('state') == 'active', 'the node').values
        assert (said['backend'], said['sha256']) == ('onnxruntime', sha256_of(bundle.read_bytes()))
        assert "expected logits within 0.001 of the graph's" in said['backend_reason']
    assert '[WARN] [shufflenet]: runs on onnxruntime fp32 (CPUExecutionProvider): ' in _plain(log)


@pytest.mark.parametrize(('asked', 'causes'), [
    ({'precision': 'int8'}, ["fp32, fp16, got 'int8'"]),
    ({'backend': 'onnxruntime', 'precision': 'fp16'}, ["for backend onnxruntime: fp32, got 'fp16'"]),
    ({'backend': 'native', 'threads': 2}, ['threads: expected 1 with backend native, got 2']),
    ({'backend': 'tflite'}, ['parameter backend', "got 'tflite', expected auto or native or onnxruntime"]),
    ({'precision': 'half'}, ["got 'half', expected auto or fp32 or fp16 or int8"]),
])
def test_orders_that_it_cannot_follow_keep_it_unconfigured(
        drive: Driver, bundle: Path, tmp_path: Path, asked: dict[str, Any], causes: list[str]) -> None:
    with process(ros_arguments({'model': bundle} | asked), tmp_path / 'node.log'):
        assert not drive.change_state(Transition.TRANSITION_CONFIGURE)
        said = drive.status_when('node', lambda s: 'configure failed' in s.message, 'the error')
        assert said.level == 2 and all(cause in said.message for cause in causes), said.message
        assert drive.state() == 'unconfigured'
