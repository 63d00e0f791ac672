# SPDX-License-Identifier: Apache-2.0
"""Labeled bags: which frame has which label, and invalid label files."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from labeled_datasets import encoded, plain

from shufflenet_ros.bags.errors import BagError
from shufflenet_ros.bags.reader import Bag
from shufflenet_ros.bags.writer import BagWriter
from shufflenet_ros.core.reasons import DropReason, FrameError
from shufflenet_ros.datasets.errors import DatasetError
from shufflenet_ros.datasets.open_dataset import open_dataset

RAW, JPEG = '/front/image_raw', '/rear/image_raw/compressed'
START_NS = 1_700_000_000 * 10**9
MakeBag = Callable[..., Path]


def entry(from_s: Any, to_s: Any, label: Any, topic: Any = RAW) -> dict[str, Any]:
    return {'topic': topic, 'from_s': from_s, 'to_s': to_s, 'label': label}


@pytest.fixture
def make_bag(tmp_path: Path) -> MakeBag:
    """A bag with 10 frames a second on each topic, 0.0 to 1.9 s, red then green, and its label file."""
    def make(entries: Any, storage: str = 'mcap') -> Path:
        path = tmp_path / 'bag'
        with BagWriter(path, storage) as bag:
            for i in range(20):
                name, stamp = ('red', 'green')[i // 10], START_NS + i * 10**8
                bag.image(RAW, plain(name), 'bgr8', stamp)
                bag.compressed(JPEG, encoded(name, '.jpg'), 'jpeg', stamp, log_ns=stamp + 1)
                bag.camera_info('/front/camera_info', 64, 48, stamp, log_ns=stamp + 2)
        text = entries if isinstance(entries, (str, bytes)) else yaml.safe_dump(entries)
        (tmp_path / 'bag.labels.yaml').write_bytes(text if isinstance(text, bytes) else text.encode())
        return path
    return make


@pytest.mark.parametrize('storage', ['mcap', 'db3'])
def test_frames_get_the_label_of_their_time(make_bag: MakeBag, storage: str) -> None:
    dataset = open_dataset(make_bag([entry(1.0, 2, 'green'), entry(0.2, 0.5, 'red'),
                                     entry(0, 0.1, 'red', JPEG), entry(1.85, 9, 'green', JPEG)], storage))
    assert (dataset.labels, dataset.split, dataset.count) == (('green', 'red'), '', 15)
    assert dict(dataset.left_out) == {'frames outside every range': 25}
    samples = list(dataset.samples())
    # from_s belongs to the range, to_s does not.
    expected = [f'{JPEG} at 0.000 s', *(f'{RAW} at 0.{i}00 s' for i in (2, 3, 4)),
                *(f'{RAW} at 1.{i}00 s' for i in range(10)), f'{JPEG} at 1.900 s']
    assert [sample.name for sample in samples] == expected
    for sample in samples:
        image = sample.image()
        assert image.color == 'bgr' and image.pixels.mean((0, 1)).argmax() == (1, 2)[sample.target]
    assert len(list(dataset.samples(4))) == 4


def test_ranges_of_one_label_may_overlap_and_topics_have_their_own(make_bag: MakeBag) -> None:
    dataset = open_dataset(make_bag([entry(0, 1, 'red'), entry(0.2, 0.3, 'red'), entry(0.5, 1.5, 'red'),
                                     entry(1.5, 1.6, 'green'), entry(0, 2, 'green', JPEG)]))
    counts = [sum(s.target == i for s in dataset.samples()) for i in range(2)]
    assert counts == [1 + 20, 15]


def test_a_single_storage_file_has_its_own_label_file(make_bag: MakeBag) -> None:
    path = make_bag([entry(0, 5, 'red')])
    whole = open_dataset(path)  # topics without entries are ignored
    assert (whole.count, dict(whole.left_out)) == (20, {})
    (file,) = path.glob('*.mcap')
    with pytest.raises(DatasetError, match=f'{file.name}.labels.yaml: no such file; expected the bag'):
        open_dataset(file)
    file.with_name(f'{file.name}.labels.yaml').write_text(yaml.safe_dump([entry(0, 1, 'red')]))
    assert open_dataset(file).count == 10


def test_a_real_ros_1_bag_with_labels_beside_it(shared_data: Path, tmp_path: Path) -> None:
    bag = tmp_path / 't265_office.bag'
    bag.symlink_to(shared_data / 'bags' / 't265_office.bag')
    with Bag(bag) as opened:
        topic = next(t.name for t in opened.topics if t.type == 'sensor_msgs/msg/Image')
        logs = [item.log_ns - opened.start_ns for item in opened.messages([topic])]
    assert len(logs) == 3
    label_file = tmp_path / 't265_office.bag.labels.yaml'
    label_file.write_text(yaml.safe_dump([entry(0, logs[2] / 1e9, 'office', topic)]))
    dataset = open_dataset(bag)
    assert (dataset.count, dict(dataset.left_out)) == (2, {'frames outside every range': 1})
    assert all(sample.image().pixels.shape == (800, 848, 3) for sample in dataset.samples())


def test_a_damaged_message_is_a_sample_with_a_reason(make_bag: MakeBag) -> None:
    path = make_bag([entry(0, 1, 'red')], 'db3')
    with sqlite3.connect(next(path.glob('*.db3'))) as database:
        database.execute('UPDATE messages SET data = substr(data, 1, 30) WHERE id = 1')
    first, second, *_ = open_dataset(path).samples()
    assert isinstance(first.message, FrameError) and first.message.reason is DropReason.BAD_FORMAT
    assert not isinstance(second.message, FrameError)


def test_a_damaged_bag_and_a_split_of_a_bag_are_errors(make_bag: MakeBag) -> None:
    path = make_bag([entry(0, 1, 'red')])
    with pytest.raises(DatasetError, match='no split val: a labeled bag has no splits; leave the split out'):
        open_dataset(path, 'val')
    (file,) = path.glob('*.mcap')
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(BagError):
        open_dataset(path)


ALIASES = ['- &a0 [x, x, x, x, x, x, x, x, x]',
           *(f'- &a{i} [{", ".join([f"*a{i - 1}"] * 9)}]' for i in range(1, 30))]
IMAGE_TOPICS = f"expected one of ['{RAW}', '{JPEG}']"


@pytest.mark.parametrize(('entries', 'expected'), [
    ('', 'labels: got nothing, expected a list of 1 to 100000 items'),
    ('[]', 'labels: got [], expected a list of 1'),
    ('topic: /a', 'labels: got an object of 1, expected a list'),
    ('[3]', 'entry 1: got 3, expected an object with topic, from_s, to_s, label'),
    ('- {a: [}', 'not valid YAML'),
    (b'\xff\xfe\x00', 'not valid YAML'),
    ('[' * 5000, 'nested more than 50 levels deep: expected a flat list'),
    (f'- {{topic: {RAW}, from_s: 0, to_s: 1, label: red, label: green}}', "'label' is in one mapping twice"),
    ('!!python/object/apply:os.system [true]', 'not valid YAML'),
    ('- !!bool foo', 'not valid YAML'),
    ('!!map [1, 2]', 'not valid YAML'),
    ('- !!timestamp foo', 'not valid YAML'),
    ('- !!int ""', 'not valid YAML'),
    ('\n'.join(ALIASES), 'alias *a0: expected none; write out what it refers to'),
    ('# ' + 'x' * (4 << 20), 'bytes: expected at most 4194304'),
    ([entry(0, 1, 'red'), entry(0, 1, 'red') | {'color': 1}],
     'entry 2.color: got 1, expected no such field; known are topic'),
    ([{'topic': RAW, 'from_s': 0, 'label': 'red'}],
     'entry 1.to_s: missing, but required: expected all of topic'),
    ([entry(0, 1, 'red', '/nope')], f"entry 1.topic: got '/nope', {IMAGE_TOPICS}"),
    ([entry(0, 1, 'red', '/front/camera_info')],
     f"entry 1.topic: got '/front/camera_info', {IMAGE_TOPICS}"),
    ([entry(1, 1, 'red')], 'entry 1.to_s: got 1, expected more than from_s, 1'),
    ([entry(1.5, 0.5, 'red')], 'entry 1.to_s: got 0.5, expected more than from_s, 1.5'),
    ([entry(-1, 1, 'red')], 'entry 1.from_s: got -1, expected a number in [0, '),
    ([entry(0, float('nan'), 'red')], 'to_s: got nan, expected a number'),
    ([entry(0, float('inf'), 'red')], 'to_s: got inf, expected a number'),
    ([entry(0, 10**400, 'red')], 'to_s: got 1000000'),
    ([entry('0', 1, 'red')], "from_s: got '0', expected a number"),
    ([entry(False, 1, 'red')], 'from_s: got False, expected a number'),
    ([entry(1_700_000_000, 1_700_000_001, 'red')],
     'entry 1.from_s: got 1700000000, expected seconds from the start of the bag, which lasts 1.900 s'),
    ([entry(0, 1, True)],
     'entry 1.label: got True, expected one line of text; put numbers, yes and no in quotes'),
    ([entry(0, 1, 7)], 'label: got 7, expected one line of text'),
    ([entry(0, 1, '')], "label: got '', expected one line of text"),
    ([entry(0, 1, 'a\nb')], "label: got 'a\\nb', expected one line of text"),
    ([entry(0, 1, ['red'])], "label: got ['red'], expected one line of text"),
    ([entry(0, 1, 'red', 3)], 'topic: got 3, expected one of'),
    ([entry(0, 1, 'red'), entry(0.5, 2, 'green')],
     f'two labels at the same time: red on {RAW} from 0 to 1 s, and green on {RAW} from 0.5 to 2 s'),
    ([entry(0, 2, 'red'), entry(0.1, 0.2, 'red'), entry(1.9, 2, 'green')], 'two labels at the same time'),
    ([entry(0.01, 0.02, 'red')], 'none of the 20 frames is in a range; expected seconds from the start'),
])
def test_an_invalid_label_file_is_an_error_with_its_name_and_the_remedy(
        make_bag: MakeBag, entries: Any, expected: str) -> None:
    path = make_bag(entries)
    with pytest.raises(DatasetError) as error:
        open_dataset(path)
    assert expected in str(error.value) and str(path) + '.labels.yaml' in str(error.value)
    assert len(str(error.value)) < 1000
