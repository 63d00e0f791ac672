"""The demo's bag holds what it says, and what it calls right can be answered at all."""

from itertools import pairwise

import numpy as np
import pytest
import yaml

from demo.make_bag import FRAME_ID, TOPIC, bag_path, make_bag
from demo.photos import PAN_SIZE, load_photos, pan
from demo.plan import RATE_HZ, START_NS, plan
from demo.wheels import SHA256, DemoError, read_member
from shufflenet_ros.bags.reader import Bag, stamp_ns


@pytest.fixture(scope='module')
def bag():
    """The whole bag, as `make demo` makes it."""
    path = bag_path()
    make_bag(path)
    return path


def test_whole_bag_has_at_least_300_images_with_rising_stamps(bag):
    with Bag(bag) as opened:
        assert [(t.name, t.type) for t in opened.topics] == [(TOPIC, 'sensor_msgs/msg/Image')]
        log_times, stamps, shapes, means = [], [], set(), []
        for item in opened.messages():
            image = item.message
            log_times.append(item.log_ns)
            stamps.append(stamp_ns(image))
            shapes.add((image.height, image.width, image.encoding, image.step, image.header.frame_id))
            means.append(float(image.data[::1000].mean()))
    assert len(stamps) >= 300
    assert {b - a for a, b in pairwise(stamps)} == {10**9 // RATE_HZ}
    assert log_times == stamps
    assert shapes == {(272, 640, 'bgr8', 1920, FRAME_ID), (480, 640, 'bgr8', 1920, FRAME_ID)}
    assert len(set(means)) > 0.9 * len(means), 'images that do not move'
    assert stamps[-1] - stamps[0] <= 35 * 10**9


def test_labels_beside_the_bag_are_those_of_photos_yaml(bag, repo_root):
    entries = yaml.safe_load((bag.parent / f'{bag.name}.labels.yaml').read_text())
    photos = yaml.safe_load((repo_root / 'demo' / 'photos.yaml').read_text())['photos']
    assert all(set(entry) == {'topic', 'from_s', 'to_s', 'label'} for entry in entries)
    assert {entry['topic'] for entry in entries} == {TOPIC}
    pans = [segment for segment in plan(load_photos()) if segment.right]
    assert [list(pan.right) for pan in pans] == [photo['right'] for photo in photos]
    certain = [pan for pan in pans if len(pan.right) == 1]
    assert len(certain) >= 3
    for entry, segment in zip(entries, certain, strict=True):
        expected = (segment.from_s, segment.to_s, segment.right[0])
        assert (entry['from_s'], entry['to_s'], entry['label']) == expected
        assert segment.to_s - segment.from_s >= 4.0
    with Bag(bag) as opened:
        assert pans[-1].to_s == pytest.approx((opened.end_ns - START_NS) / 1e9 + 1 / RATE_HZ)


def test_every_pan_begins_and_ends_with_the_photos_middle_in_view():
    for photo in load_photos():
        image = photo.read()
        height, width = image.shape[:2]
        mark = np.zeros_like(image)
        mark[height // 2 - 10:height // 2 + 10, width // 2 - 10:width // 2 + 10] = 255
        for window in pan(mark, 2):
            assert window.shape == (*PAN_SIZE, 3)
            assert window[120:360, 200:440].any(), photo.name


def test_a_short_bag_has_every_part():
    whole, short = plan(load_photos()), plan(load_photos(), 6.0)
    assert [s.name for s in short] == [s.name for s in whole]
    assert short[-1].to_s == pytest.approx(6.0, abs=0.5)
    assert all(a.end == b.begin for a, b in pairwise(short))


def test_another_file_in_the_wheel_is_refused(monkeypatch):
    member = 'skimage/data/coffee.png'
    monkeypatch.setitem(SHA256, member, '0' * 64)
    with pytest.raises(DemoError, match=r'sha256 cc02f8ca.*expected 0000.*delete the wheel'):
        read_member('scikit-image', member)
