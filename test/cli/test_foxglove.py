# SPDX-License-Identifier: Apache-2.0
"""`classify --annotate out.mcap`: a bag with the images and their labels, for Foxglove."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import cv2
import jsonschema
import numpy as np
import pytest
from labeled_datasets import BGR, encoded, plain, write_folder
from mcap.reader import make_reader

from shufflenet_ros.bags.foxglove import ANNOTATIONS, SCHEMA
from shufflenet_ros.bags.reader import Bag, stamp_ns
from shufflenet_ros.bags.writer import BagWriter
from shufflenet_ros.core.decode import decode

ROOT = Path(__file__).resolve().parents[2]
START_NS = 10**18


def annotations_in(path: Path) -> list[tuple[str, int, list[str], set[int]]]:
    """Topic, log time, texts, and the texts' times, of each annotation; each fits the schema in the file."""
    found = []
    with path.open('rb') as file:
        reader = make_reader(file, validate_crcs=True)
        for schema, channel, message in reader.iter_messages():
            if schema.name == ANNOTATIONS:
                assert (schema.encoding, channel.message_encoding) == ('jsonschema', 'json')
                value: dict[str, Any] = json.loads(message.data)
                jsonschema.validate(value, json.loads(schema.data))
                stamps = [text['timestamp'] for text in value['texts']]
                times = {stamp['sec'] * 10**9 + stamp['nsec'] for stamp in stamps}
                texts = [text['text'] for text in value['texts']]
                found.append((channel.topic, message.log_time, texts, times))
    return found


def expected_texts(line: dict[str, Any]) -> list[str]:
    if line['dropped']:
        return [f'dropped: {line["dropped"]}']
    return [f'{best["name"]} {best["score"]:.2f}' for best in line['predictions']]


@pytest.mark.parametrize('storage', ['mcap', 'db3'])
def test_a_bag_keeps_its_images_and_gets_the_labels_of_classify(classify, tiny, tmp_path, storage):
    bag, out = tmp_path / 'bag', tmp_path / 'out.mcap'
    with BagWriter(bag, storage) as writer:
        for i, name in enumerate(BGR):
            encoding = 'bgr9' if name == 'green' else 'bgr8'
            writer.image('/cam/image_raw', plain(name), encoding, START_NS + 5 * i, log_ns=10 * i + 1)
            writer.compressed('/cam/image_raw/compressed', encoded(name, '.jpg'), 'jpeg', START_NS + i,
                              log_ns=10 * i + 2)
        writer.camera_info('/cam/camera_info', 64, 48, START_NS)
    lines = classify(bag, '--model', tiny, '--json', '--annotate', out).lines
    found = annotations_in(out)
    assert [topic for topic, *_ in found] == [f'{line["topic"]}/annotations' for line in lines]
    assert [texts for *_, texts, _ in found] == [expected_texts(line) for line in lines]
    assert [times for *_, times in found] == [{line['stamp_ns']} for line in lines]
    assert found[2][2] == ['dropped: bad_encoding']

    with Bag(bag) as before, Bag(out) as after:  # read by rosbags, and by classify
        topics = ['/cam/image_raw', '/cam/image_raw/compressed']
        old, new = ([(item.topic, item.type, item.log_ns, item.raw) for item in one.messages(topics)]
                    for one in (before, after))
        assert old == new
    again = classify(out, '--model', tiny, '--json').lines
    assert [line | {'source': ''} for line in again] == [line | {'source': ''} for line in lines]
    assert not list(tmp_path.glob('.draft*'))


def test_a_ros_1_bag_becomes_ros_2_messages(classify, int8, shared_data, tmp_path):
    source, out = shared_data / 'bags/t265_office.bag', tmp_path / 'out.mcap'
    lines = classify(source, '--model', int8, '--json', '--annotate', out).lines
    again = classify(out, '--model', int8, '--json').lines
    assert [line | {'source': ''} for line in again] == [line | {'source': ''} for line in lines]
    assert [texts for *_, texts, _ in annotations_in(out)] == [expected_texts(line) for line in lines]


def test_files_become_jpegs_at_a_steady_rate(classify, tiny, tmp_path):
    files = {'a.png': encoded('red'), 'b.jpg': encoded('green', '.jpg'), 'c.bmp': encoded('blue', '.bmp')}
    folder, out = write_folder(tmp_path / 'photos', files), tmp_path / 'out.mcap'
    lines = classify(folder, '--model', tiny, '--json', '--annotate', out).lines
    found = annotations_in(out)
    assert [(topic, log, texts) for topic, log, texts, _ in found] == [
        ('/images/annotations', i * 5 * 10**8, expected_texts(line)) for i, line in enumerate(lines)]
    assert found[2][2] == ['dropped: bad_format']
    with Bag(out) as bag:
        messages = [item.message for item in bag.messages(['/images'])]
    assert [stamp_ns(message) for message in messages] == [0, 5 * 10**8]
    for message, name in zip(messages, ('red', 'green')):
        pixels = decode(message, 10**6).pixels.astype(int)
        assert pixels.shape == (48, 64, 3) and np.abs(pixels - plain(name)).max() < 8


def test_an_image_too_long_for_jpeg_is_scaled_and_a_link_may_lead_to_another_file_system(
        classify, tiny, tmp_path):
    image, out = tmp_path / 'long.png', tmp_path / 'out.mcap'
    target = Path(f'/dev/shm/shufflenet-test-{os.getpid()}.mcap')
    cv2.imwrite(str(image), np.zeros((2, 65_520, 3), np.uint8))
    out.symlink_to(target)
    try:
        classify(image, '--model', tiny, '--annotate', out)
        with Bag(out) as bag:
            assert [decode(item.message, 10**6).pixels.shape for item in bag.messages(['/images'])] == [
                (2, 65_500, 3)]
        assert out.is_symlink() and target.is_file()
    finally:
        target.unlink(missing_ok=True)


def test_the_schema_rejects_what_foxglove_could_not_draw():
    color, time = {'r': 1, 'g': 1, 'b': 1, 'a': 1}, {'sec': 1, 'nsec': 2}
    text = {'timestamp': time, 'position': {'x': 1, 'y': 2}, 'text': 'a', 'font_size': 9, 'text_color': color,
            'background_color': color, 'metadata': []}
    jsonschema.validate({'circles': [], 'points': [], 'texts': [text]}, SCHEMA)
    for bad in (text | {'text': 3}, text | {'position': {'x': 1}}, {'text': 'a'}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({'circles': [], 'points': [], 'texts': [bad]}, SCHEMA)


def test_the_layout_shows_topics_that_the_docs_name():
    layout = json.loads((ROOT / 'config/foxglove_layout.json').read_text())
    panels, docs = layout['configById'], (ROOT / 'docs/node.md').read_text()

    def ids(part: Any) -> set[str]:
        return {part} if isinstance(part, str) else ids(part['first']) | ids(part['second'])

    assert ids(layout['layout']) == set(panels)
    image, live = panels['Image!bag']['imageMode'], panels['Image!live']['imageMode']
    assert image['annotations'] == {f'{image["imageTopic"]}/annotations': {'visible': True}}
    assert f'`{image["imageTopic"]}/annotations`' in (ROOT / 'docs/bags.md').read_text()
    topics = [live['imageTopic'], panels['Table!labels']['topicPath'].partition('.')[0]]
    assert all(f'`{topic.replace("/shufflenet", "~")}`' in docs for topic in topics)
    assert f'`{panels["DiagnosticSummary!node"]["topicToRender"]}`' in docs
