# SPDX-License-Identifier: Apache-2.0
"""The results of a running node: headers (row A17), labels, embeddings, and that none gets lost."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2')
pytest.importorskip('onnx', reason='needs the extra export')

from driving import BLUE, DARK, GREEN, RED, Driver, active_node, compressed, driver, plain, stamped
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from replaying import EVERY, wait_for
from sensor_msgs.msg import CompressedImage
from shufflenet_ros_msgs.msg import Embedding
from tiny_bundle import EMBEDDING_DIM, LABELS
from vision_msgs.msg import Classification, LabelInfo, VisionInfo

from shufflenet_ros.bundles.files import sha256_of
from shufflenet_ros.core.opencv import cv2

FRAMES, RATE_HZ = 300, 30.0
LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE,
                     durability=DurabilityPolicy.TRANSIENT_LOCAL)
# The tiny bundle's logits for each color, by hand from its weights, in the order of LABELS.
LOGITS = {RED: (8, -4, -4, -2, 1), GREEN: (-4, 8, -4, -2, 1), BLUE: (-4, -4, 8, -2, 1),
          DARK: (0, 0, 0, -5, 4)}


@pytest.fixture(scope='module')
def single(bundle: Path, own_domain: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    """A driver of a node that answers every raw frame of one camera."""
    with driver() as drive, active_node(drive, tmp_path_factory.mktemp('log') / 'node.log',
                                        EVERY | {'model': bundle}):
        yield drive


@pytest.fixture(scope='module')
def camera(single: Driver) -> Any:
    """The single node's camera."""
    return single.camera()


@pytest.fixture(scope='module')
def results(single: Driver) -> list[Classification]:
    """What the single node answers."""
    return hear(single, Classification, '/shufflenet/classification')


def hear(drive: Driver, kind: Any, topic: str, raw: bool = False) -> list[Any]:
    """A list of what comes, once the publisher has been found."""
    heard = drive.hear(kind, topic, raw=raw)
    drive.wait_for_publisher(topic)
    time.sleep(0.3)  # the publisher finds us after we find it, and volatile topics wait for nobody
    return heard


def after(heard: list[Any], publisher: Any, *messages: Any, count: int | None = None) -> list[Any]:
    """What is heard after these messages were sent: one for each, or count."""
    heard.clear()
    for message in messages:
        publisher.publish(message)
    wanted = len(messages) if count is None else count
    wait_for(lambda: len(heard) >= wanted, f'{wanted} answers')
    return list(heard)


def expected(color: tuple[int, int, int]) -> dict[str, float]:
    """Label -> probability."""
    weights = [math.exp(x) for x in LOGITS[color]]
    return {name: weight / sum(weights) for name, weight in zip(LABELS, weights)}


def test_headers_come_back_byte_for_byte(single: Driver, camera: Any) -> None:
    stamps = [(1_700_000_000, 999_999_999), (2**31 - 1, 5), (0, 1), (0, 0), (-1, 0), (-2**31, 7), (5, 10**9),
              (5, 2**32 - 1)]
    frame_ids = ['lens', '', 'a/b c', 'Kamera \u00e4\u4e2d\U0001f600', 'x' * 100_000]
    raw = hear(single, Classification, '/shufflenet/classification', raw=True)
    embeddings = hear(single, Embedding, '/shufflenet/embedding', raw=True)
    images = [plain(RED, stamp, frame_id) for stamp in stamps for frame_id in frame_ids]
    before = bad_stamps(single)
    embeddings.clear()
    answers = after(raw, camera, *images)
    wait_for(lambda: len(embeddings) >= len(images), 'embeddings')
    assert len(answers) == len(embeddings) == len(images)
    for sent, *got in zip(images, answers, embeddings):
        header = serialize_message(sent.header)[4:]  # behind CDR's own four bytes
        assert all(message[4:4 + len(header)] == header for message in got), sent.header.stamp
    # The last five stamps of the eight are no times.
    bad = before + 5 * len(frame_ids)
    single.status_when('camera', lambda s: s.count('bad_stamp') == bad, 'the bad stamps')


def bad_stamps(drive: Driver) -> int:
    return drive.status_when('camera', lambda s: True, 'the camera').count('bad_stamp')


@pytest.mark.parametrize('color', LOGITS)
def test_labels_and_scores(camera: Any, results: list[Classification], color: tuple[int, int, int]) -> None:
    answer, = after(results, camera, plain(color))
    got = {result.class_id: result.score for result in answer.results}
    assert got == pytest.approx(expected(color), abs=1e-5)
    assert list(got.values()) == sorted(got.values(), reverse=True)


def test_labels_change_with_the_parameters(
        single: Driver, camera: Any, results: list[Classification]) -> None:
    try:
        assert all(verdict.successful for verdict in single.set(top_k=2, class_id='index'))
        answer, = after(results, camera, plain(RED))
        assert [result.class_id for result in answer.results] == ['0', '4']
        assert all(verdict.successful for verdict in single.set(top_k=5, class_id='name', min_score=0.5))
        answer, = after(results, camera, plain(GREEN))
        assert [result.class_id for result in answer.results] == ['green']
    finally:
        single.set(top_k=5, class_id='name', min_score=0.0)
    answer, = after(results, camera, plain(GREEN))
    assert len(answer.results) == 5


def test_embeddings(single: Driver, camera: Any, bundle: Path, results: list[Classification]) -> None:
    heard = hear(single, Embedding, '/shufflenet/embedding')
    raw = np.array([1, 0, 0, 1] + [0] * (EMBEDDING_DIM - 4), np.float32)
    try:
        answer, = after(heard, camera, plain(RED))
        assert list(answer.data) == pytest.approx(list(raw / np.sqrt(2)), abs=1e-6)
        assert (answer.model, answer.layer, answer.l2_normalized) == ('tiny', 'mean color', True)
        assert answer.model_sha256 == sha256_of(bundle.read_bytes())
        single.set(l2_normalize=False)
        answer, = after(heard, camera, plain(RED))
        assert list(answer.data) == pytest.approx(list(raw), abs=1e-6) and not answer.l2_normalized
        single.set(embedding=False)
        heard.clear()
        after(results, camera, plain(RED), plain(GREEN))
        single.set(embedding=True)
        after(results, camera, plain(BLUE, (77, 0)))
        wait_for(lambda: heard, 'an embedding')
        assert [message.header.stamp.sec for message in heard] == [77]
    finally:
        single.set(embedding=True, l2_normalize=True)


def test_what_the_labels_mean_is_latched(single: Driver) -> None:
    labels, vision = (single.hear(kind, f'/shufflenet/{name}', LATCHED)
                      for kind, name in ((LabelInfo, 'label_info'), (VisionInfo, 'vision_info')))
    wait_for(lambda: labels and vision, 'the latched topics')
    assert [(c.class_id, c.class_name) for c in labels[-1].class_map] == list(enumerate(LABELS))
    assert vision[-1].method == 'tiny test network'
    assert vision[-1].database_location == '/shufflenet/label_info' and vision[-1].database_version == 1


def test_two_cameras_compressed(bundle: Path, own_domain: None, tmp_path: Path) -> None:
    def jpeg(color: tuple[int, int, int]) -> bytes:
        return cv2.imencode('.png', np.full((32, 32, 3), color[::-1], np.uint8))[1].tobytes()

    parameters = EVERY | {'model': bundle, 'cameras': '[front, rear/left]', 'image_transport': 'compressed',
                          'class_id': 'index', 'top_k': 1}
    remaps = ('-r', '__node:=pair', '-r', 'front/image_raw:=/vorn/bild')
    with driver('/pair') as drive, active_node(drive, tmp_path / 'node.log', parameters, *remaps):
        cameras = [drive.camera(topic, CompressedImage)
                   for topic in ('/vorn/bild/compressed', '/rear/left/image_raw/compressed')]
        heard = [hear(drive, Classification, f'/pair/{name}/classification')
                 for name in ('front', 'rear/left')]
        for i in range(10):
            for at, color in enumerate((GREEN, BLUE)):
                cameras[at].publish(compressed(jpeg(color), (100 + i, at), ('front', 'rear')[at]))
        wait_for(lambda: all(len(messages) >= 10 for messages in heard), 'ten answers a camera')
        for at, messages in enumerate(heard):
            assert [(m.header.stamp.sec, m.header.stamp.nanosec) for m in messages] == [
                (100 + i, at) for i in range(10)]
            assert {m.header.frame_id for m in messages} == {('front', 'rear')[at]}
            assert {r.class_id for m in messages for r in m.results} == {str(at + 1)}
        for name in ('front', 'rear/left'):
            status = drive.status_when(f'camera {name}', lambda s: s.count('published') == 10, 'ten frames')
            status.assert_law()
            assert status.count('damaged') == 0
        whole = cv2.imencode('.jpg', np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8))[1]
        for i in range(3):
            cameras[0].publish(compressed(whole.tobytes()[:-100] + b'\xff\xd9', (200 + i, 0), 'front'))
        status = drive.status_when('camera front', lambda s: s.count('damaged') == 3, 'three damaged frames')
        status.assert_law()
        assert status.count('published') == 13 and len(heard[0]) == 13
        said = (tmp_path / 'node.log').read_text()
        assert said.count('damaged image (Corrupt JPEG data: premature end of data segment)') == 1
        assert said.count('Corrupt JPEG data') == 1  # libjpeg's own line is not there


def test_every_answers_all_and_latest_accounts_for_all(
        single: Driver, camera: Any, results: list[Classification], bundle: Path, tmp_path: Path,
        capsys: pytest.CaptureFixture[str]) -> None:
    """300 frames of 640x480 at 30 Hz: one node answers each, one takes the newest; both keep the books."""
    image = plain(RED, size=(480, 640))
    name = ('-r', '__node:=live')
    with driver('/live') as drive, active_node(drive, tmp_path / 'node.log', {'model': bundle}, *name):
        live = hear(drive, Classification, '/live/classification')
        wait_for(lambda: camera.get_subscription_count() == 2, 'both nodes')
        drive.status_when('camera', lambda s: True, 'the camera')
        time.sleep(0.3)
        results.clear()
        before = single.statuses('camera')[-1].count('published')
        began = time.monotonic()
        for i in range(FRAMES):
            time.sleep(max(0.0, began + i / RATE_HZ - time.monotonic()))
            camera.publish(stamped(image, (1000, i)))
        wait_for(lambda: len(results) >= FRAMES, f'{FRAMES} answers')
        for i in range(100):
            camera.publish(stamped(image, (2000, i)))
        wait_for(lambda: len(results) >= FRAMES + 100, 'the burst')
        stamps = [(m.header.stamp.sec, m.header.stamp.nanosec) for m in results]
        assert stamps == [(1000, i) for i in range(FRAMES)] + [(2000, i) for i in range(100)]
        single.status_when('camera', lambda s: s.count('published') == before + FRAMES + 100, 'all published')
        drive.status_when('camera', lambda s: s.count('published') == len(live), 'the live results')
        time.sleep(1.5)  # nothing more may come
        last = drive.statuses('camera')[-1]
        stamps = [(m.header.stamp.sec, m.header.stamp.nanosec) for m in live]
        assert stamps == sorted(set(stamps)) and last.count('published') == len(live)
        assert last.count('received') <= FRAMES + 100 and last.count('in_flight') == 0
        # Without the large shared-memory segments (test/ros/conftest.py) best effort loses most on the way.
        assert len(live) > FRAMES // 2, 'the policy latest gives up only what it cannot answer in time'
    for who in (single, drive):
        statuses = [status for part in ('camera', 'node') for status in who.statuses(part)
                    if 'received' in status.values]
        assert len(statuses) > 20
        for status in statuses:
            status.assert_law()
    with capsys.disabled():
        keys = ('received', 'published', 'superseded', 'age_p99_ms')
        print(f'\nlatest: {FRAMES + 100} sent,', {key: last.values[key] for key in keys})
