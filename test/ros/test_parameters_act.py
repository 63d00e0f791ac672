# SPDX-License-Identifier: Apache-2.0
"""What parameters do that no other test of the running node sets."""

from __future__ import annotations

import json

import onnx_models
import pytest
from in_process import bench, slow_down, unspun_node
from native_models import native_bundle

from shufflenet_ros.backends.native import VARIABLE
from shufflenet_ros.bundles.files import sha256_of
from shufflenet_ros.ros.node import FAILURE, SUCCESS


def test_model_card_describes_a_file_without_a_card(context, tmp_path):
    path = onnx_models.write(tmp_path / 'theirs.onnx', onnx_models.classifier())
    (tmp_path / 'mine.json').write_text(json.dumps(onnx_models.card(name='mine')))
    with unspun_node(context, model=path) as node:
        assert node.trigger_configure() == FAILURE and 'card' in node.failure
    with bench(context, path, model_card=str(tmp_path / 'mine.json')) as b:
        b.bring_to('inactive')
        b.status_when('node', lambda status: status.values['model'] == 'mine', "the card's name")


def test_model_sha256_rejects_another_file(context, model):
    right = sha256_of(model.read_bytes())
    for digest, result in (('0' * 64, FAILURE), (right, SUCCESS), (right.upper(), SUCCESS)):
        with unspun_node(context, model=model, model_sha256=digest) as node:
            assert node.trigger_configure() == result
            assert (right in node.failure) == (result == FAILURE)


def test_provider_must_exist_here(context, model):
    with unspun_node(context, model=model, backend='onnxruntime', provider='cuda') as node:
        assert node.trigger_configure() == FAILURE
        assert 'cuda' in node.failure and 'cpu' in node.failure


@pytest.mark.parametrize(('max_accuracy_loss', 'fits'), [(2.0, True), (0.5, False)])
def test_max_accuracy_loss_leaves_a_variant_out(context, tmp_path, native_library, monkeypatch,
                                                max_accuracy_loss, fits):
    """One that loses a point by its card. The timings list what was timed."""
    monkeypatch.setenv(VARIABLE, str(native_library))
    path = native_bundle(tmp_path / 'm.onnx', precisions=('fp16',), metrics={'top1': 0.80, 'images': 500},
                         entry_changes={'metrics': {'top1': 0.79, 'images': 500}})
    with bench(context, path, max_accuracy_loss=max_accuracy_loss) as b:
        b.bring_to('inactive')
        values = b.status_when('node', lambda status: status.values['state'] == 'inactive', 'it').values
    assert ('native fp16' in values['timings']) == fits, values


def test_queue_size_bounds_what_waits(context, model):
    with bench(context, model, frame_policy='every', queue_size=2, image_qos__reliability='reliable',
               image_qos__depth=50) as b:
        b.activate()
        received = b.status_when('camera', lambda status: True, 'it').count('received')
        slow = slow_down(b.node)
        slow.released.clear()
        b.show()
        assert slow.begun.wait(10.0)
        for _ in range(6):
            b.show()
        full = b.status_when('camera', lambda status: status.count('received') >= received + 7, 'all images')
        assert (full.count('in_flight'), full.count('superseded')) == (3, 4)
        slow.released.set()


def test_max_rate_hz_drops_what_comes_too_soon(context, model):
    with bench(context, model, max_rate_hz=0.01, image_qos__reliability='reliable') as b:
        b.bring_to('active')
        b.wait_for_topics()
        for _ in range(4):
            b.show()
        status = b.status_when('camera', lambda status: status.count('received') == 4, 'all images')
        assert status.dropped == {'throttled': 3}


def test_image_qos_depth_reaches_the_subscription(context, model):
    with bench(context, model, image_qos__depth=7) as b:
        b.bring_to('active')
        status = b.status_when('camera', lambda status: True, 'it')
        assert status.values['requested_qos'].endswith(' depth 7')
