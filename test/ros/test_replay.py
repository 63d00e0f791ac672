# SPDX-License-Identifier: Apache-2.0
"""The node's results for a replayed bag equal `classify` on the bag and the golden files, over real DDS."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from replaying import (
    EVERY,
    as_lines,
    assert_same_results,
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
GOLDEN_TOLERANCE = 1e-3  # other processors and versions of onnxruntime sum in another order


def converted(bag: Path, folder: Path, storage: str) -> Path:
    """A copy of a bag in another storage: mcap or sqlite3."""
    path = folder / f'{bag.stem}_{storage}'
    convert([bag], path, storage, 8, None, '', None, get_typestore(Stores.LATEST), [], [], [], [])
    return path


def golden(name: str, model: str) -> list[dict[str, Any]]:
    """A golden file's frames; they must be those of this very model."""
    path = DATA / name
    assert path.exists(), f'{name} is missing: run test/data/make_golden.py'
    content = json.loads(path.read_text())
    assert content['model_sha256'] == sha256_of(find(model).path.read_bytes()), f'{name} is of another model'
    frames: list[dict[str, Any]] = content['frames']
    return frames


def of_topic(lines: list[dict[str, Any]], topic: str) -> list[dict[str, Any]]:
    return [line for line in lines if line['topic'] == topic]


@pytest.fixture
def check(listener, tmp_path, capsys) -> Any:
    """Replays each bag to one node; its results must equal those of `classify` and of the golden file."""
    def run(bags: list[Path], model: str, golden_name: str, topics: dict[str, str],
            parameters: dict[str, Any], remappings: dict[str, str]) -> None:
        """Topics are the node's result topic -> the image topic in the bag."""
        heard = {topic: listener.hear(Classification, result) for result, topic in topics.items()}
        expected = golden(golden_name, model)
        all_lines = offline(capsys, bags, model, '--precision', parameters.get('precision', 'auto'),
                            *(word for topic in heard for word in ('--topic', topic)))
        words = node_arguments(EVERY | {'model': model} | parameters,
                               *(word for a, b in remappings.items() for word in ('-r', f'{a}:={b}')))
        with process(words, tmp_path / 'node.log') as node:
            for result in topics:
                listener.wait_for_publisher(result)
            for bag in bags:
                for messages in heard.values():
                    messages.clear()
                replay(bag, tmp_path / 'replay.log', '--rate', '2', '--topics', *heard,
                       '--wait-for-subscribers', str(len(heard)))
                lines = [line for line in all_lines if line['source'] == str(bag)]
                wait_for(lambda: sum(map(len, heard.values())) >= len(lines)  # noqa: B023
                         or node.poll() is not None, f'{len(lines)} results')
                for topic, messages in heard.items():
                    got, here, ever = as_lines(messages), of_topic(lines, topic), of_topic(expected, topic)
                    stamps = [line['stamp_ns'] for line in got]
                    assert stamps and stamps == sorted(set(stamps))
                    assert_same_results(got, here, OFFLINE_TOLERANCE)
                    assert_same_results(got, ever, GOLDEN_TOLERANCE)
                    assert_same_results(here, ever, GOLDEN_TOLERANCE)
    return run


@pytest.mark.parametrize(('precision', 'transport', 'storage'), [
    ('int8', 'raw', 'mcap'), ('int8', 'compressed', 'sqlite3'),
    ('auto', 'raw', 'sqlite3'), ('auto', 'compressed', 'mcap')])
def test_a_panning_camera(check, request, tmp_path, precision, transport, storage):
    """The default model in int8, which every processor computes to the same bit; and an int8 ONNX file."""
    model, name = DEFAULT_MODEL, 'golden_pan.json'
    if precision == 'auto':
        model, name = str(request.getfixturevalue('shared_data') / INT8), 'golden_pan_int8.json'
    topic = '/camera/image_raw' + ('/compressed' if transport == 'compressed' else '')
    check([converted(DATA / 'pan.mcap', tmp_path, storage)], model, name, {RESULT: topic},
          {'image_transport': transport, 'precision': precision}, {'image_raw': '/camera/image_raw'})


def test_two_real_fisheye_cameras_through_one_node(check, shared_data, tmp_path):
    source = shared_data / 'bags' / 't265_office.bag'
    topics = {f'/shufflenet/fisheye{i}/classification': f'/camera/fisheye{i}/image_raw' for i in (1, 2)}
    check([source, converted(source, tmp_path, 'mcap')], str(shared_data / INT8), 'golden_t265_int8.json',
          topics, {'cameras': '[fisheye1, fisheye2]'},
          {f'fisheye{i}/image_raw': f'/camera/fisheye{i}/image_raw' for i in (1, 2)})


def test_a_real_raspberry_pi_cameras_jpeg(check, shared_data, tmp_path):
    source = shared_data / 'bags' / 'raspicam_compressed.bag'
    check([source, converted(source, tmp_path, 'sqlite3')], str(shared_data / INT8),
          'golden_raspicam_int8.json', {RESULT: '/raspicam_node/image/compressed'},
          {'image_transport': 'compressed'}, {'image_raw': '/raspicam_node/image'})


def test_embeddings_equal_those_of_classify(listener, model, tmp_path, capsys):
    bag = DATA / 'pan.mcap'
    heard = listener.hear(Embedding, '/shufflenet/embedding')
    words = node_arguments(EVERY | {'model': model}, '-r', 'image_raw:=/camera/image_raw')
    with process(words, tmp_path / 'node.log'):
        listener.wait_for_publisher('/shufflenet/embedding')
        replay(bag, tmp_path / 'replay.log', '--rate', '4', '--wait-for-subscribers', '1')
        lines = offline(capsys, [bag], str(model), '--embedding', '--topic', '/camera/image_raw')
        wait_for(lambda: len(heard) >= len(lines), 'embeddings')
    assert len(heard) == len(lines) == 12
    for message, line in zip(heard, lines):
        assert list(message.data) == pytest.approx(line['embedding'], abs=1e-6)
