# SPDX-License-Identifier: Apache-2.0
"""The node on a replayed bag against the offline path and against golden files, over real DDS."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2')

from replaying import (
    Listener,
    as_lines,
    assert_same_answers,
    node_arguments,
    offline,
    process,
    replay,
    wait_for,
)
from rosbags.convert.converter import convert
from rosbags.typesys import Stores, get_typestore
from shufflenet_ros_msgs.msg import Embedding
from vision_msgs.msg import Classification

from shufflenet_ros.bundles.files import sha256_of
from shufflenet_ros.bundles.locate import DEFAULT_MODEL, find

DATA = Path(__file__).resolve().parents[1] / 'data'
INT8 = 'shufflenet_v2_x1_0_int8.onnx'
RESULT = '/shufflenet/classification'
OFFLINE_TOLERANCE = 1e-4
GOLDEN_TOLERANCE = 1e-3  # other processors and onnxruntimes add in another order


pytestmark = pytest.mark.usefixtures('own_domain')


def copies(bag: Path, folder: Path) -> dict[str, Path]:
    """A bag as mcap and db3."""
    made = {'mcap': folder / f'{bag.stem}_mcap', 'db3': folder / f'{bag.stem}_db3'}
    for storage, path in zip(('mcap', 'sqlite3'), made.values()):
        convert([bag], path, storage, 8, None, '', None, get_typestore(Stores.LATEST), [], [], [], [])
    return made


def golden(name: str, model: str) -> list[dict[str, Any]]:
    """A golden file's frames, if they were made with this very model."""
    path = DATA / name
    assert path.exists(), f'{name} is missing: run test/data/make_golden.py'
    text = json.loads(path.read_text())
    assert text['model_sha256'] == sha256_of(find(model).path.read_bytes()), f'{name} is of another model'
    frames: list[dict[str, Any]] = text['frames']
    return frames


def of_topic(lines: list[dict[str, Any]], topic: str) -> list[dict[str, Any]]:
    return [line for line in lines if line['topic'] == topic]


def check(listener: Listener, bags: dict[str, Path], model: str, golden_name: str, topics: dict[str, str],
          node: list[str], tmp_path: Path, precision: str = 'auto') -> None:
    """Replay each bag to one node; hold its answers, topic by topic, to the offline path and the golden file.

    Args:
        topics: the node's result topic -> image topic in the bag.
        node: what starts the node.
    """
    heard = {topic: listener.hear(Classification, result) for result, topic in topics.items()}
    expected = golden(golden_name, model)
    answers = offline(list(bags.values()), model, '--precision', precision,
                      *(word for topic in heard for word in ('--topic', topic)))
    with process(node, tmp_path / 'node.log') as running:
        for result in topics:
            listener.wait_for_publisher(result)
        for kind, bag in bags.items():
            for messages in heard.values():
                messages.clear()
            said = replay(bag, tmp_path / 'replay.log', '--rate', '2', '--topics', *heard,
                          '--wait-for-subscribers', str(len(heard)))
            lines = [line for line in answers if line['source'] == str(bag)]
            wait_for_results(heard.values(), len(lines), running)
            print(kind, said.strip().splitlines()[-1])
            for topic, messages in heard.items():
                got, here, ever = as_lines(messages), of_topic(lines, topic), of_topic(expected, topic)
                stamps = [line['stamp_ns'] for line in got]
                assert stamps and stamps == sorted(set(stamps))
                assert_same_answers(got, here, OFFLINE_TOLERANCE)
                assert_same_answers(got, ever, GOLDEN_TOLERANCE)
                assert_same_answers(here, ever, GOLDEN_TOLERANCE)


def wait_for_results(lists: Iterable[list[Any]], count: int, node: subprocess.Popen[bytes]) -> None:
    """Until so many have come; a node that has ended sends no more, and comparing then says so."""
    wait_for(lambda: sum(map(len, lists)) >= count or node.poll() is not None, f'{count} results')


def check_pan(listener: Listener, transport: str, model: str, golden_name: str, tmp_path: Path,
              precision: str = 'auto') -> None:
    topic = '/camera/image_raw' + ('/compressed' if transport == 'compressed' else '')
    node = node_arguments(model, {'image_raw': '/camera/image_raw'}, image_transport=transport,
                          precision=precision)
    check(listener, copies(DATA / 'pan.mcap', tmp_path), model, golden_name, {RESULT: topic}, node, tmp_path,
          precision)


@pytest.mark.parametrize('transport', ['raw', 'compressed'])
def test_the_default_model_answers_a_replay_as_offline_and_as_ever(
        listener: Listener, tmp_path: Path, transport: str) -> None:
    """In int8, which every processor computes to the same bit."""
    check_pan(listener, transport, DEFAULT_MODEL, 'golden_pan.json', tmp_path, 'int8')


@pytest.mark.parametrize('transport', ['raw', 'compressed'])
def test_the_int8_imagenet_model_answers_a_replay_as_offline_and_as_ever(
        listener: Listener, shared_data: Path, tmp_path: Path, transport: str) -> None:
    check_pan(listener, transport, str(shared_data / INT8), 'golden_pan_int8.json', tmp_path)


def test_two_real_fisheye_cameras_through_one_node(
        listener: Listener, shared_data: Path, tmp_path: Path) -> None:
    source, model = shared_data / 'bags' / 't265_office.bag', str(shared_data / INT8)
    topics = {f'/shufflenet/fisheye{i}/classification': f'/camera/fisheye{i}/image_raw' for i in (1, 2)}
    remaps = {f'fisheye{i}/image_raw': f'/camera/fisheye{i}/image_raw' for i in (1, 2)}
    check(listener, {'ROS 1': source, **copies(source, tmp_path)}, model, 'golden_t265_int8.json', topics,
          node_arguments(model, remaps, cameras='[fisheye1, fisheye2]'), tmp_path)


def test_a_real_raspberry_pi_cameras_jpeg(listener: Listener, shared_data: Path, tmp_path: Path) -> None:
    source, model = shared_data / 'bags' / 'raspicam_compressed.bag', str(shared_data / INT8)
    node = node_arguments(model, {'image_raw': '/raspicam_node/image'}, image_transport='compressed')
    check(listener, {'ROS 1': source, **copies(source, tmp_path)}, model, 'golden_raspicam_int8.json',
          {RESULT: '/raspicam_node/image/compressed'}, node, tmp_path)


def test_embeddings_are_the_offline_paths(listener: Listener, tmp_path: Path, repo_root: Path) -> None:
    pytest.importorskip('onnx', reason='needs the extra export')
    from tiny_bundle import tiny_bundle
    model, bag = str(tiny_bundle(tmp_path / 'tiny.onnx')), DATA / 'pan.mcap'
    heard = listener.hear(Embedding, '/shufflenet/embedding')
    with process(node_arguments(model, {'image_raw': '/camera/image_raw'}), tmp_path / 'node.log'):
        listener.wait_for_publisher('/shufflenet/embedding')
        replay(bag, tmp_path / 'replay.log', '--rate', '4', '--wait-for-subscribers', '1')
        lines = offline([bag], model, '--embedding', '--topic', '/camera/image_raw')
        wait_for(lambda: len(heard) >= len(lines), 'embeddings')
    assert len(heard) == len(lines) == 12
    for message, line in zip(heard, lines):
        assert list(message.data) == pytest.approx(line['embedding'], abs=1e-6)
