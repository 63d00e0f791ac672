# SPDX-License-Identifier: Apache-2.0
"""The results of a running node: headers (row A17), labels, embeddings, and that none is lost."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from driving import (
    BLUE,
    DARK,
    GREEN,
    RED,
    Driver,
    active_node,
    compressed,
    driver,
    plain,
    stamp_of,
    stamped,
)
from in_process import bench
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from replaying import EVERY, FULL, wait_for
from sensor_msgs.msg import CompressedImage
from shufflenet_ros_msgs.msg import Embedding
from tiny_bundle import EMBEDDING_DIM, LABELS, tiny_bundle
from vision_msgs.msg import Classification, LabelInfo, VisionInfo

from shufflenet_ros.bundles.files import sha256_of
from shufflenet_ros.core.opencv import cv2

FRAMES, RATE_HZ = 300 if FULL else 120, 30.0
LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE,
                     durability=DurabilityPolicy.TRANSIENT_LOCAL)
# The tiny bundle's logits for each color, by hand from its weights, in the order of LABELS.
LOGITS = {RED: (8, -4, -4, -2, 1), GREEN: (-4, 8, -4, -2, 1), BLUE: (-4, -4, 8, -2, 1),
          DARK: (0, 0, 0, -5, 4)}


@pytest.fixture(scope='module')
def untrusted(tmp_path_factory) -> Path:
    """The tiny bundle, which no index lists: a child process verifies it first."""
    return tiny_bundle(tmp_path_factory.mktemp('bundle') / 'tiny.onnx')


@pytest.fixture(scope='module')
def single(untrusted, own_domain, tmp_path_factory) -> Iterator[Driver]:
    """A driver of a node that classifies every raw frame of one camera."""
    with driver() as drive, active_node(drive, tmp_path_factory.mktemp('log') / 'node.log',
                                        EVERY | {'model': untrusted}):
        yield drive


@pytest.fixture(scope='module')
def camera(single) -> Any:
    """The single node's camera."""
    return single.camera()


@pytest.fixture(scope='module')
def results(single) -> list[Classification]:
    """The results of the single node."""
    return hear(single, Classification, '/shufflenet/classification')


def hear(drive: Driver, kind: Any, topic: str, raw: bool = False) -> list[Any]:
    """A list of the topic's messages, once its publisher has been found."""
    heard = drive.hear(kind, topic, raw=raw)
    drive.wait_for_publisher(topic)
    time.sleep(0.3)  # the publisher finds us after we find it, and volatile topics wait for nobody
    return heard


def results_of(heard: list[Any], publisher: Any, *messages: Any) -> list[Any]:
    """One result for each of these messages, which are sent now."""
    heard.clear()
    for message in messages:
        publisher.publish(message)
    wait_for(lambda: len(heard) >= len(messages), f'{len(messages)} results')
    return list(heard)


def expected(color: tuple[int, int, int]) -> dict[str, float]:
    """Label -> probability."""
    weights = [math.exp(x) for x in LOGITS[color]]
    return {name: weight / sum(weights) for name, weight in zip(LABELS, weights)}


def test_headers_come_back_byte_for_byte(single, camera):
    stamps = [(1_700_000_000, 999_999_999), (2**31 - 1, 5), (0, 1), (0, 0), (-1, 0), (-2**31, 7), (5, 10**9),
              (5, 2**32 - 1)]
    frame_ids = ['lens', '', 'a/b c', 'Kamera \u00e4\u4e2d\U0001f600', 'x' * 100_000]
    raw = hear(single, Classification, '/shufflenet/classification', raw=True)
    embeddings = hear(single, Embedding, '/shufflenet/embedding', raw=True)
    images = [plain(RED, stamp, frame_id) for stamp in stamps for frame_id in frame_ids]
    before = single.status_when('camera', lambda s: True, 'the camera').count('bad_stamp')
    embeddings.clear()
    got = results_of(raw, camera, *images)
    wait_for(lambda: len(embeddings) >= len(images), 'embeddings')
    assert len(got) == len(embeddings) == len(images)
    for sent, *pair in zip(images, got, embeddings):
        header = serialize_message(sent.header)[4:]  # after CDR's own four bytes
        assert all(message[4:4 + len(header)] == header for message in pair), sent.header.stamp
    # The last five of the eight stamps are not valid times.
    bad = before + 5 * len(frame_ids)
    single.status_when('camera', lambda s: s.count('bad_stamp') == bad, 'the bad stamps')


@pytest.mark.parametrize('color', LOGITS)
def test_labels_and_scores(camera, results, color):
    result, = results_of(results, camera, plain(color))
    got = {label.class_id: label.score for label in result.results}
    assert got == pytest.approx(expected(color), abs=1e-5)
    assert list(got.values()) == sorted(got.values(), reverse=True)


def test_labels_change_with_the_parameters(single, camera, results):
    try:
        assert all(change.successful for change in single.set(top_k=2, class_id='index'))
        result, = results_of(results, camera, plain(RED))
        assert [label.class_id for label in result.results] == ['0', '4']
        assert all(change.successful for change in single.set(top_k=5, class_id='name', min_score=0.5))
        result, = results_of(results, camera, plain(GREEN))
        assert [label.class_id for label in result.results] == ['green']
    finally:
        single.set(top_k=5, class_id='name', min_score=0.0)
    result, = results_of(results, camera, plain(GREEN))
    assert len(result.results) == 5


def test_embeddings(single, camera, untrusted, results):
    heard = hear(single, Embedding, '/shufflenet/embedding')
    raw = np.array([1, 0, 0, 1] + [0] * (EMBEDDING_DIM - 4), np.float32)
    try:
        result, = results_of(heard, camera, plain(RED))
        assert list(result.data) == pytest.approx(list(raw / np.sqrt(2)), abs=1e-6)
        assert (result.model, result.layer, result.l2_normalized) == ('tiny', 'mean color', True)
        assert result.model_sha256 == sha256_of(untrusted.read_bytes())
        single.set(l2_normalize=False)
        result, = results_of(heard, camera, plain(RED))
        assert list(result.data) == pytest.approx(list(raw), abs=1e-6) and not result.l2_normalized
        single.set(embedding=False)
        heard.clear()
        results_of(results, camera, plain(RED), plain(GREEN))
        single.set(embedding=True)
        results_of(results, camera, plain(BLUE, (77, 0)))
        wait_for(lambda: heard, 'an embedding')
        assert [message.header.stamp.sec for message in heard] == [77]
    finally:
        single.set(embedding=True, l2_normalize=True)


def test_label_info_and_vision_info_are_latched(single):
    labels, vision = (single.hear(kind, f'/shufflenet/{name}', LATCHED)
                      for kind, name in ((LabelInfo, 'label_info'), (VisionInfo, 'vision_info')))
    wait_for(lambda: labels and vision, 'the latched topics')
    assert [(c.class_id, c.class_name) for c in labels[-1].class_map] == list(enumerate(LABELS))
    assert vision[-1].method == 'tiny test network'
    assert vision[-1].database_location == '/shufflenet/label_info' and vision[-1].database_version == 1


def test_two_cameras_compressed(context, untrusted, capfd):
    def png(color: tuple[int, int, int]) -> bytes:
        return cv2.imencode('.png', np.full((32, 32, 3), color[::-1], np.uint8))[1].tobytes()

    parameters = EVERY | {'cameras': ['front', 'rear/left'], 'image_transport': 'compressed',
                          'class_id': 'index', 'top_k': 1}
    names = ('front', 'rear/left')
    with bench(context, untrusted, '-r', 'front/image_raw:=/vorn/bild', name='pair', **parameters) as b:
        b.bring_to('active')
        cameras = [b.camera(topic, CompressedImage)
                   for topic in ('/vorn/bild/compressed', '/rear/left/image_raw/compressed')]
        heard = [hear(b, Classification, f'/pair/{name}/classification') for name in names]
        for i in range(10):
            for at, color in enumerate((GREEN, BLUE)):
                cameras[at].publish(compressed(png(color), (100 + i, at), names[at]))
        wait_for(lambda: all(len(messages) >= 10 for messages in heard), 'ten results per camera')
        for at, messages in enumerate(heard):
            assert [stamp_of(message) for message in messages] == [(100 + i, at) for i in range(10)]
            assert {message.header.frame_id for message in messages} == {names[at]}
            assert {label.class_id for message in messages for label in message.results} == {str(at + 1)}
            status = b.status_when(f'camera {names[at]}', lambda s: s.count('published') == 10, 'ten frames')
            status.assert_all_counted()
            assert status.count('damaged') == 0
        whole = cv2.imencode('.jpg', np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8))[1]
        for i in range(3):
            cameras[0].publish(compressed(whole.tobytes()[:-100] + b'\xff\xd9', (200 + i, 0), 'front'))
        status = b.status_when('camera front', lambda s: s.count('damaged') == 3, 'three damaged frames')
        status.assert_all_counted()
        assert status.count('published') == 13 and len(heard[0]) == 13
        logged = capfd.readouterr().err
        assert logged.count('damaged image (Corrupt JPEG data: premature end of data segment)') == 1
        assert logged.count('Corrupt JPEG data') == 1, "libjpeg's own line is captured"


def test_every_gives_all_results_and_latest_counts_all_frames(single, camera, results, untrusted, tmp_path,
                                                              capsys):
    """640x480 at 30 Hz, then a burst: one node classifies every frame, one the newest; both count all."""
    image = plain(RED, size=(480, 640))
    live_log = tmp_path / 'node.log'
    with driver('/live') as drive, active_node(drive, live_log, {'model': untrusted}, '-r', '__node:=live'):
        live = hear(drive, Classification, '/live/classification')
        wait_for(lambda: camera.get_subscription_count() == 2, 'both nodes')
        drive.status_when('camera', lambda s: True, 'the camera')
        results.clear()
        before = single.statuses('camera')[-1].count('published')
        began = time.monotonic()
        for i in range(FRAMES):
            time.sleep(max(0.0, began + i / RATE_HZ - time.monotonic()))
            camera.publish(stamped(image, (1000, i)))
        wait_for(lambda: len(results) >= FRAMES, f'{FRAMES} results')
        for i in range(100):
            camera.publish(stamped(image, (2000, i)))
        wait_for(lambda: len(results) >= FRAMES + 100, 'the burst')
        assert list(map(stamp_of, results)) == [
            *((1000, i) for i in range(FRAMES)), *((2000, i) for i in range(100))]
        single.status_when('camera', lambda s: s.count('published') == before + FRAMES + 100, 'all published')
        drive.status_when('camera', lambda s: s.count('published') == len(live), 'the live results')
        time.sleep(1.5)  # nothing more may come
        last = drive.statuses('camera')[-1]
        stamps = list(map(stamp_of, live))
        assert stamps == sorted(set(stamps)) and last.count('published') == len(live)
        assert last.count('received') <= FRAMES + 100 and last.count('in_flight') == 0
        # Without the large shared-memory segments (test/ros/conftest.py) best effort loses most on the way.
        assert len(live) > FRAMES // 2, 'the policy latest gives up only what it cannot process in time'
    for who in (single, drive):
        statuses = [status for part in ('camera', 'node') for status in who.statuses(part)
                    if 'received' in status.values]
        assert len(statuses) > FRAMES // 15
        for status in statuses:
            status.assert_all_counted()
    with capsys.disabled():
        keys = ('received', 'published', 'superseded', 'age_p99_ms')
        print(f'\nlatest: {FRAMES + 100} sent,', {key: last.values[key] for key in keys})
