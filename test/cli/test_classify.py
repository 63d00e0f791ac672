# SPDX-License-Identifier: Apache-2.0
"""`shufflenet-ros classify`: one line per frame, for every kind of source."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from labeled_datasets import BGR, encoded, plain, write_folder
from rosbags.convert.converter import convert
from rosbags.typesys import Stores, get_typestore

from shufflenet_ros.bags.writer import BagWriter

KEYS = ['source', 'topic', 'frame', 'stamp_ns', 'predictions', 'dropped']


def names(lines: list[dict[str, Any]]) -> list[str | None]:
    return [line['predictions'][0]['name'] if line['predictions'] else line['dropped'] for line in lines]


def test_the_int8_model_gets_at_least_32_of_40_photos_right(python, shared_data):
    photos, model = shared_data / 'photos', shared_data / 'shufflenet_v2_x1_0_int8.onnx'
    done = python('-m', 'shufflenet_ros.cli', 'classify', photos, '--model', model, '--json')
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    truth = json.loads((photos / 'labels.json').read_text())
    assert [Path(line['source']).name for line in lines] == sorted(truth)
    correct = 0
    for line in lines:
        assert list(line) == KEYS
        assert (line['topic'], line['frame'], line['stamp_ns'], line['dropped']) == (None, 0, None, None)
        assert len(line['predictions']) == 5
        assert all(list(prediction) == ['name', 'index', 'score'] for prediction in line['predictions'])
        scores = [prediction['score'] for prediction in line['predictions']]
        assert scores == sorted(scores, reverse=True) and 0 <= scores[-1] <= scores[0] <= 1
        best, expected = line['predictions'][0], truth[Path(line['source']).name]
        correct += (best['index'], best['name']) == (expected['imagenet_index'], expected['name'])
    print(f'{correct} of {len(truth)}')
    assert correct >= 32


def test_image_files_are_decoded_as_compressed_images(classify, tiny, tmp_path):
    folder = write_folder(tmp_path / 'images', {
        'a.JPG': encoded('red', '.jpg'), 'b/b.png': encoded('green'), 'c.bmp': encoded('blue', '.bmp'),
        'd.jpeg': encoded('blue', '.jpg')[:-40], 'e.png': b'', 'notes.txt': b'not an image'})
    ran = classify(folder, '--model', tiny, '--json')
    assert [Path(line['source']).name for line in ran.lines] == ['a.JPG', 'b.png', 'c.bmp', 'd.jpeg', 'e.png']
    assert names(ran.lines) == ['red', 'green', 'bad_format', 'truncated', 'truncated']
    assert all(line['predictions'] == [] for line in ran.lines[2:])
    assert 'dropped 3 frames: bad_format 1, truncated 2' in ran.err
    assert 'c.bmp #0: bad_format: data that begins with 42 4d' in ran.err
    assert classify(folder / 'notes.txt', '--model', tiny, '--json').lines[0]['dropped'] == 'bad_format'


def test_damaged_images_are_classified_and_reported(classify, tiny, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    whole = cv2.imencode('.jpg', pixels)[1].tobytes()
    damaged = whole[:-200] + b'\xff\xd9'
    write_folder(tmp_path, {'a.jpg': whole, 'b.jpg': damaged, 'c.jpg': damaged})
    ran = classify(tmp_path, '--model', tiny, '--json')
    assert len(ran.lines) == 3 and all(line['predictions'] for line in ran.lines)
    assert 'damaged 2 frames' in ran.err
    assert ran.err.count('damaged image (Corrupt JPEG data: premature end') == 1
    assert 'b.jpg #0: damaged' in ran.err


@pytest.fixture
def write_bag(tmp_path):
    """Write a bag with raw and compressed red, green, blue; the raw green image has an unknown encoding."""
    def write(storage: str = 'mcap') -> Path:
        with BagWriter(tmp_path / 'bag', storage) as bag:
            for i, name in enumerate(BGR):
                encoding = 'bgr9' if name == 'green' else 'bgr8'
                bag.image('/cam/image_raw', plain(name), encoding, 10**18 + i, log_ns=10 * i + 1)
                bag.compressed('/cam/image_raw/compressed', encoded(name, '.jpg'), 'jpeg', 2 * 10**18 + i,
                               log_ns=10 * i + 2)
                bag.camera_info('/cam/camera_info', 64, 48, 10**18 + i, log_ns=10 * i + 3)
        return tmp_path / 'bag'
    return write


@pytest.mark.parametrize('storage', ['mcap', 'db3'])
def test_bags_give_every_image_topic_with_the_headers_stamps(classify, tiny, write_bag, storage):
    bag = write_bag(storage)
    ran = classify(bag, '--model', tiny, '--json')
    assert [(line['topic'].rsplit('/', 1)[1], line['frame'], line['stamp_ns']) for line in ran.lines] == [
        ('image_raw', 0, 10**18), ('compressed', 1, 2 * 10**18), ('image_raw', 2, 10**18 + 1),
        ('compressed', 3, 2 * 10**18 + 1), ('image_raw', 4, 10**18 + 2), ('compressed', 5, 2 * 10**18 + 2)]
    assert names(ran.lines) == ['red', 'red', 'bad_encoding', 'green', 'blue', 'blue']
    assert {line['source'] for line in ran.lines} == {str(bag)}
    file, topic = next(bag.glob(f'*.{storage}')), '/cam/image_raw/compressed'
    one = classify(file, '--model', tiny, '--json', '--topic', topic)
    assert names(one.lines) == ['red', 'green', 'blue'] and [line['frame'] for line in one.lines] == [0, 1, 2]


def test_a_ros_1_bag_gets_the_results_of_its_ros_2_copy(classify, int8, shared_data, tmp_path):
    for name, count in (('t265_office', 6), ('raspicam_compressed', 1)):
        source, types = shared_data / 'bags' / f'{name}.bag', get_typestore(Stores.LATEST)
        convert([source], tmp_path / name, 'mcap', 8, None, '', None, types, [], [], [], [])
        both = classify(source, tmp_path / name, '--model', int8, '--json').lines
        assert len(both) == 2 * count
        old, new = ([line | {'source': ''} for line in half] for half in (both[:count], both[count:]))
        assert old == new
        assert all(line['dropped'] is None and line['stamp_ns'] > 10**18 for line in old)


def test_a_video_gives_its_frames_in_order(classify, tiny, tmp_path):
    video = tmp_path / 'colors.mp4'
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*'mp4v'), 10.0, (64, 48))
    for name in BGR:
        for _ in range(4):
            writer.write(plain(name))
    writer.release()
    lines = classify(video, '--model', tiny, '--json', '--top-k', '1').lines
    assert [line['frame'] for line in lines] == list(range(12))
    assert names(lines) == ['red'] * 4 + ['green'] * 4 + ['blue'] * 4
    assert all(line['topic'] is line['stamp_ns'] is None for line in lines)
    assert all(len(line['predictions']) == 1 for line in lines)


def test_the_embedding_and_progress_are_there_only_when_requested(classify, tiny, tmp_path):
    write_folder(tmp_path, {'red.png': encoded('red')})
    without = classify(tmp_path / 'red.png', '--model', tiny, '--json')
    more = classify(tmp_path / 'red.png', '--model', tiny, '--json', '--embedding', '--progress')
    (line,), (with_it,) = without.lines, more.lines
    assert list(line) == KEYS and list(with_it) == [*KEYS, 'embedding']
    assert np.allclose(with_it['embedding'], [2 ** -0.5, 0, 0, 2 ** -0.5, 0, 0, 0, 0], atol=1e-6)
    assert line['predictions'] == with_it['predictions']
    assert '1/1' not in without.err and '1/1' in more.err and '1/1' not in more.out


def test_the_text_has_one_line_per_frame(classify, tiny, write_bag):
    bag = write_bag()
    ran = classify(bag, '--model', tiny, '--top-k', '2', '--topic', '/cam/image_raw')
    first, second, _ = ran.out.splitlines()
    assert first.startswith(f'{bag} /cam/image_raw 1000000000.000 #0: red 0.')
    assert second == f'{bag} /cam/image_raw 1000000000.000 #1: dropped, bad_encoding'
    assert 'trained on nothing; terms: none needed' in ran.err


def test_the_annotated_video_shows_every_frame_with_its_predictions(classify, tiny, tmp_path, write_bag):
    cv2.imwrite(str(tmp_path / 'wide.png'), np.hstack([plain('red')] * 3))
    out = tmp_path / 'out.mp4'
    ran = classify(write_bag(), tmp_path / 'wide.png', '--model', tiny, '--json', '--annotate', out)
    video = cv2.VideoCapture(str(out))
    frames = []
    while (read := video.read())[0]:
        frames.append(read[1])
    assert len(frames) == len(ran.lines) == 7
    assert {frame.shape for frame in frames} == {(480, 640, 3)}
    for frame, name in zip(frames, ('red', 'red', None, 'green', 'blue', 'blue', 'red')):
        middle = frame[240, 320].astype(int)
        expected = np.array(BGR[name] if name else (0, 0, 0))
        assert np.abs(middle - expected).max() < 60, (name, middle)
        assert (frame[:160].min(axis=2) > 180).sum() > 100, 'no text at the top'
    assert frames[-1][440, 320].max() < 40, 'the wide image has no black below it'


@pytest.mark.parametrize(('arguments', 'expected'), [
    (['nowhere.jpg'], 'source nowhere.jpg does not exist: expected an image'),
    (['nowhere.bag'], 'source nowhere.bag does not exist: expected an image'),
    (['{folder}'], 'has no image files: expected some of .bmp'),
    (['{folder}/broken.mp4'], 'broken.mp4 cannot be opened'),
    (['{folder}/broken.mcap'], 'broken.mcap cannot be read'),
    (['{bag}', '--topic', '/cam/camera_info'], "has no image topic ['/cam/camera_info']: its topics are"),
    (['{bag}', '--topic', '/nope'], "has no image topic ['/nope']: its topics are"),
    (['{bag}', '--top-k', '0'], "'0': expected an integer in [1, 1000]"),
    (['{bag}', '--top-k', 'x'], "'x': expected an integer in [1, 1000]"),
    (['{bag}', '--annotate', '{folder}/no/out.mp4'], 'no/out.mp4 cannot be written'),
    ([], 'the following arguments are required: SOURCE'),
])
def test_wrong_arguments_are_one_error(classify, tiny, tmp_path, write_bag, arguments, expected):
    folder = write_folder(tmp_path / 'folder', {'broken.mp4': b'no video', 'broken.mcap': b'no bag'})
    bag = write_bag()
    ran = classify(*(text.format(folder=folder, bag=bag) for text in arguments), '--model', tiny, status=2)
    assert expected in ran.err.splitlines()[-1]


def test_a_damaged_message_drops_only_its_own_frame(classify, tiny, write_bag):
    bag = write_bag('db3')
    (file,) = bag.glob('*.db3')
    with sqlite3.connect(file) as database:
        query = 'SELECT id, data FROM messages ORDER BY timestamp DESC LIMIT 1 OFFSET 2'
        last, data = database.execute(query).fetchone()
        database.execute('UPDATE messages SET data = ? WHERE id = ?', (data[:30], last))
    ran = classify(bag, '--model', tiny, '--json', '--topic', '/cam/image_raw')
    assert names(ran.lines) == ['red', 'bad_encoding', 'bad_format']
    assert ran.lines[2]['stamp_ns'] is None
    assert 'message 2 on /cam/image_raw (sensor_msgs/msg/Image) cannot be read' in ran.err
