# SPDX-License-Identifier: Apache-2.0
"""`shufflenet-ros classify`: one line per frame, for every kind of source."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from labeled_datasets import BGR, encoded, plain
from rosbags.convert.converter import convert
from rosbags.typesys import Stores, get_typestore

from shufflenet_ros.bags.writer import BagWriter

KEYS = ['source', 'topic', 'frame', 'stamp_ns', 'predictions', 'dropped']
INT8 = 'shufflenet_v2_x1_0_int8.onnx'
Classify = Callable[..., Any]


def names(lines: list[dict[str, Any]]) -> list[str | None]:
    return [line['predictions'][0]['name'] if line['predictions'] else line['dropped'] for line in lines]


def test_the_int8_model_gets_at_least_32_of_40_photos_right(repo_root: Path, shared_data: Path) -> None:
    photos = shared_data / 'photos'
    verb = ['-m', 'shufflenet_ros.cli', 'classify']
    command = [sys.executable, *verb, photos, '--model', shared_data / INT8, '--json']
    done = subprocess.run(command, capture_output=True, text=True, cwd=repo_root, timeout=120)
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


def test_image_files_are_decoded_as_compressed_images(classify: Classify, tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / 'images'
    (folder / 'b').mkdir(parents=True)
    cv2.imwrite(str(folder / 'a.JPG'), plain('red'))
    cv2.imwrite(str(folder / 'b' / 'b.png'), plain('green'))
    cv2.imwrite(str(folder / 'c.bmp'), plain('blue'))
    (folder / 'd.jpeg').write_bytes(encoded('blue', '.jpg')[:-40])
    (folder / 'e.png').write_bytes(b'')
    (folder / 'notes.txt').write_text('not an image')
    ran = classify(folder, '--model', tiny, '--json')
    assert ran.status == 0, ran.err
    assert [Path(line['source']).name for line in ran.lines] == ['a.JPG', 'b.png', 'c.bmp', 'd.jpeg', 'e.png']
    assert names(ran.lines) == ['red', 'green', 'bad_format', 'truncated', 'truncated']
    assert all(line['predictions'] == [] for line in ran.lines[2:])
    assert 'dropped 3 frames: bad_format 1, truncated 2' in ran.err
    assert 'c.bmp #0: bad_format: data that begin with 42 4d' in ran.err
    assert classify(folder / 'notes.txt', '--model', tiny, '--json').lines[0]['dropped'] == 'bad_format'


def test_damaged_images_are_classified_and_reported(classify: Classify, tiny: Path, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    whole = cv2.imencode('.jpg', pixels)[1].tobytes()
    for name in 'abc':
        (tmp_path / f'{name}.jpg').write_bytes(whole if name == 'a' else whole[:-200] + b'\xff\xd9')
    ran = classify(tmp_path, '--model', tiny, '--json')
    assert ran.status == 0 and all(line['predictions'] for line in ran.lines)
    assert 'damaged 2 frames' in ran.err
    assert ran.err.count('damaged image (Corrupt JPEG data: premature end') == 1
    assert 'b.jpg #0: damaged' in ran.err


def write_bag(path: Path, storage: str) -> Path:
    """Raw and compressed red, green, blue; the raw green image has an unknown encoding."""
    with BagWriter(path, storage) as bag:
        for i, name in enumerate(BGR):
            encoding = 'bgr9' if name == 'green' else 'bgr8'
            bag.image('/cam/image_raw', plain(name), encoding, 10**18 + i, log_ns=10 * i + 1)
            bag.compressed('/cam/image_raw/compressed', encoded(name, '.jpg'), 'jpeg', 2 * 10**18 + i,
                           log_ns=10 * i + 2)
            bag.camera_info('/cam/camera_info', 64, 48, 10**18 + i, log_ns=10 * i + 3)
    return path


@pytest.mark.parametrize('storage', ['mcap', 'db3'])
def test_bags_give_every_image_topic_with_the_headers_stamps(
        classify: Classify, tiny: Path, tmp_path: Path, storage: str) -> None:
    bag = write_bag(tmp_path / 'bag', storage)
    ran = classify(bag, '--model', tiny, '--json')
    assert ran.status == 0, ran.err
    assert [(line['topic'].rsplit('/', 1)[1], line['frame'], line['stamp_ns']) for line in ran.lines] == [
        ('image_raw', 0, 10**18), ('compressed', 1, 2 * 10**18), ('image_raw', 2, 10**18 + 1),
        ('compressed', 3, 2 * 10**18 + 1), ('image_raw', 4, 10**18 + 2), ('compressed', 5, 2 * 10**18 + 2)]
    assert names(ran.lines) == ['red', 'red', 'bad_encoding', 'green', 'blue', 'blue']
    assert {line['source'] for line in ran.lines} == {str(bag)}
    file, topic = next(bag.glob(f'*.{storage}')), '/cam/image_raw/compressed'
    one = classify(file, '--model', tiny, '--json', '--topic', topic)
    assert names(one.lines) == ['red', 'green', 'blue'] and [line['frame'] for line in one.lines] == [0, 1, 2]


def test_a_ros_1_bag_gets_the_results_of_its_ros_2_copy(
        classify: Classify, shared_data: Path, tmp_path: Path) -> None:
    for name, count in (('t265_office', 6), ('raspicam_compressed', 1)):
        source, types = shared_data / 'bags' / f'{name}.bag', get_typestore(Stores.LATEST)
        convert([source], tmp_path / name, 'mcap', 8, None, '', None, types, [], [], [], [])
        both = classify(source, tmp_path / name, '--model', shared_data / INT8, '--json').lines
        assert len(both) == 2 * count
        old, new = ([line | {'source': ''} for line in half] for half in (both[:count], both[count:]))
        assert old == new
        assert all(line['dropped'] is None and line['stamp_ns'] > 10**18 for line in old)


def test_a_video_gives_its_frames_in_order(classify: Classify, tiny: Path, tmp_path: Path) -> None:
    video = tmp_path / 'colors.mp4'
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*'mp4v'), 10.0, (64, 48))
    for name in BGR:
        for _ in range(4):
            writer.write(plain(name))
    writer.release()
    ran = classify(video, '--model', tiny, '--json', '--top-k', '1')
    assert [line['frame'] for line in ran.lines] == list(range(12))
    assert names(ran.lines) == ['red'] * 4 + ['green'] * 4 + ['blue'] * 4
    assert all(line['topic'] is line['stamp_ns'] is None for line in ran.lines)
    assert all(len(line['predictions']) == 1 for line in ran.lines)


def test_the_embedding_is_there_when_requested(classify: Classify, tiny: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / 'red.png'), plain('red'))
    (with_it,) = classify(tmp_path / 'red.png', '--model', tiny, '--json', '--embedding').lines
    assert list(with_it) == [*KEYS, 'embedding']
    assert np.allclose(with_it['embedding'], [2 ** -0.5, 0, 0, 2 ** -0.5, 0, 0, 0, 0], atol=1e-6)
    (without,) = classify(tmp_path / 'red.png', '--model', tiny, '--json').lines
    assert list(without) == KEYS
    assert without['predictions'] == with_it['predictions']


def test_the_text_has_one_line_per_frame(classify: Classify, tiny: Path, tmp_path: Path) -> None:
    bag = write_bag(tmp_path / 'bag', 'mcap')
    ran = classify(bag, '--model', tiny, '--top-k', '2', '--topic', '/cam/image_raw')
    first, second, _ = ran.out.splitlines()
    assert first.startswith(f'{bag} /cam/image_raw 1000000000.000 #0: red 0.')
    assert second == f'{bag} /cam/image_raw 1000000000.000 #1: dropped, bad_encoding'
    assert 'trained on nothing; terms: none needed' in ran.err


def test_progress_goes_to_stderr_and_only_when_requested(
        classify: Classify, tiny: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / 'red.png'), plain('red'))
    quiet = classify(tmp_path / 'red.png', '--model', tiny, '--json')
    shown = classify(tmp_path / 'red.png', '--model', tiny, '--json', '--progress')
    assert '1/1' not in quiet.err and '1/1' in shown.err
    assert quiet.out == shown.out


def test_the_annotated_video_shows_every_frame_with_its_predictions(
        classify: Classify, tiny: Path, tmp_path: Path) -> None:
    bag = write_bag(tmp_path / 'bag', 'mcap')
    cv2.imwrite(str(tmp_path / 'wide.png'), np.hstack([plain('red')] * 3))
    out = tmp_path / 'out.mp4'
    ran = classify(bag, tmp_path / 'wide.png', '--model', tiny, '--json', '--annotate', out)
    assert ran.status == 0, ran.err
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
    (['{bag}', '--annotate', '{folder}/no/out.mp4'], 'no/out.mp4 cannot be written'),
    ([], 'the following arguments are required: SOURCE'),
])
def test_wrong_arguments_are_one_error_with_status_2(
        classify: Classify, tiny: Path, tmp_path: Path, arguments: list[str], expected: str) -> None:
    bag = write_bag(tmp_path / 'bag', 'mcap')
    folder = tmp_path / 'folder'
    folder.mkdir()
    (folder / 'broken.mp4').write_bytes(b'no video')
    (folder / 'broken.mcap').write_bytes(b'no bag')
    ran = classify(*(text.format(folder=folder, bag=bag) for text in arguments), '--model', tiny)
    assert ran.status == 2
    assert expected in ran.err.splitlines()[-1]
    assert 'Traceback' not in ran.err


def test_a_damaged_message_drops_only_its_own_frame(
        classify: Classify, tiny: Path, tmp_path: Path) -> None:
    bag = write_bag(tmp_path / 'bag', 'db3')
    (file,) = bag.glob('*.db3')
    with sqlite3.connect(file) as database:
        query = 'SELECT id, data FROM messages ORDER BY timestamp DESC LIMIT 1 OFFSET 2'
        last, data = database.execute(query).fetchone()
        database.execute('UPDATE messages SET data = ? WHERE id = ?', (data[:30], last))
    ran = classify(bag, '--model', tiny, '--json', '--topic', '/cam/image_raw')
    assert ran.status == 0
    assert names(ran.lines) == ['red', 'bad_encoding', 'bad_format']
    assert ran.lines[2]['stamp_ns'] is None
    assert 'message 2 on /cam/image_raw (sensor_msgs/msg/Image) cannot be read' in ran.err
