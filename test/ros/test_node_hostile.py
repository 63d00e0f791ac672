# SPDX-License-Identifier: Apache-2.0
"""A node under hostile frames and requests keeps running, counts all, and good frames get their results."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from driving import (
    ERROR,
    GREEN,
    Driver,
    active_node,
    compressed,
    driver,
    image,
    octets,
    plain,
    stamp_of,
    stamped,
)
from image_vectors import (
    BYTES_PER_PIXEL,
    ROS_ENCODINGS,
    SUPPORTED,
    data_rows,
    exif_with_thumbnail,
    filtered,
    jpeg_header,
    png,
    saved,
    smooth_rgb,
)
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from replaying import EVERY, wait_for
from sensor_msgs.msg import CompressedImage, Image
from vision_msgs.msg import Classification

from shufflenet_ros.backends.load import load
from shufflenet_ros.core.classifier import Classifier
from shufflenet_ros.core.frame import Options
from shufflenet_ros.core.reasons import DropReason, FrameError

FRAMES, MAX_PIXELS = 250, 4096  # frames a transport
RGB = smooth_rgb(24, 32)
LOG_PERIOD_S = 5.0


@dataclass
class Victim:
    """A running node with its camera and its results."""

    transport: str
    drive: Driver
    log: Path
    camera: Any
    results: list[Classification]
    sent: int = 0

    def send(self, frame: Any) -> None:
        """Publish a frame."""
        self.sent += 1
        self.camera.publish(frame)

    def send_good(self, nanosec: int) -> None:
        """Publish a good frame; its stamp has 9 s."""
        self.send(stamped(plain(GREEN) if self.transport == 'raw' else compressed(FILES[0]), (9, nanosec)))

    def good_results(self) -> list[int]:
        """The nanoseconds of the good frames that got a result."""
        return [stamp_of(result)[1] for result in list(self.results) if stamp_of(result)[0] == 9]

    def gives_result(self) -> bool:
        """Whether a good frame gets its result soon; before the topics have found each other it is lost."""
        self.send_good(self.sent)
        time.sleep(0.1)
        return self.sent - 1 in self.good_results()


@pytest.fixture(scope='module', params=['raw', 'compressed'])
def victim(request, model, own_domain, tmp_path_factory) -> Iterator[Victim]:
    """One for each transport."""
    log = tmp_path_factory.mktemp('log') / 'node.log'
    parameters = EVERY | {'model': model, 'image_transport': request.param, 'max_pixels': MAX_PIXELS}
    with driver() as drive, active_node(drive, log, parameters):
        results = drive.hear(Classification, '/shufflenet/classification')
        camera = drive.camera(*{'raw': ('/image_raw', Image),
                                'compressed': ('/image_raw/compressed', CompressedImage)}[request.param])
        victim = Victim(request.param, drive, log, camera, results)
        wait_for(victim.gives_result, 'a first result')
        yield victim


FILES = (saved(RGB, 'JPEG'), saved(RGB, 'JPEG', progressive=True), png((32, 24), 8, 2, filtered(RGB)),
         b'\xff\xd8' + exif_with_thumbnail(6, saved(RGB, 'JPEG', quality=10)) + saved(RGB, 'JPEG')[2:])


def near(rng: random.Random, value: int) -> int:
    """Mostly the value, sometimes one close to it, rarely any that fits into the field."""
    return rng.choice((value,) * 8 + (max(0, value + rng.randint(-3, 3)), 0, rng.randrange(2**32)))


def raw_frame(rng: random.Random) -> Image:
    name = rng.choice((*SUPPORTED * 4, *ROS_ENCODINGS, '', 'BGR8', 'x' * 10_000, '\n\x1b[31m\u4e2d'))
    width, height = rng.randint(1, 9), rng.randint(1, 9)
    step = width * BYTES_PER_PIXEL.get(name, 3) + rng.choice((0, 0, 0, 1, 13))
    length = near(rng, step * data_rows(name, height)) % 2000
    return Image(height=near(rng, height), width=near(rng, width), encoding=name, step=near(rng, step),
                 is_bigendian=rng.randrange(256), data=octets(rng.randbytes(length)))


def compressed_frame(rng: random.Random) -> CompressedImage:
    data = bytearray(rng.choice(FILES))
    for _ in range(rng.randint(0, 3)):
        at = rng.randrange(len(data))
        data[at] ^= 1 << rng.randrange(8)
    if rng.random() < 0.3:
        del data[rng.randrange(len(data)):]
    whole = (bytes(data), jpeg_header(60000, 60000), rng.randbytes(50), b'')
    return compressed(rng.choices(whole, (8, 1, 1, 1))[0])


def expected_ends(model: Path, frames: list[Any]) -> Counter[str]:
    """How each frame ends if the core gets it without a node and without DDS."""
    loaded = load(str(model))
    classifier = Classifier(loaded.card, loaded.backend, MAX_PIXELS)
    ends: Counter[str] = Counter()
    for frame in frames:
        try:
            classifier.classify(frame, Options())
            ends['published'] += 1
        except FrameError as dropped:
            ends[str(dropped.reason)] += 1
    return ends


def test_every_hostile_frame_is_counted_and_the_next_good_one_gets_its_result(victim, model, capsys):
    rng = random.Random(20240229)
    frame = raw_frame if victim.transport == 'raw' else compressed_frame
    frames: list[Any] = [frame(rng) for _ in range(FRAMES)]
    expected = expected_ends(model, frames)
    assert 0.05 < expected['published'] / FRAMES < 0.95 and len(expected) >= 4, 'the generator must reach all'
    victim.results.clear()
    began = time.monotonic()
    for i, frame in enumerate(frames):
        victim.send(stamped(frame, (5, i), '\x1b[31mevil\n'))
        victim.send_good(i)
        if i % 25 == 24:  # the camera's history has room for 100 frames
            wait_for(lambda wanted=i + 1: len(victim.good_results()) >= wanted, 'the good frames')
    wait_for(lambda: len(victim.results) >= FRAMES + expected['published'], 'all results')
    seconds = time.monotonic() - began

    assert victim.good_results() == list(range(FRAMES))
    good = {str(result.results) for result in victim.results if stamp_of(result)[0] == 9}
    assert len(good) == 1, 'all good frames look the same'
    status = victim.drive.status_when('camera', lambda s: s.count('received') == victim.sent
                                      and s.count('in_flight') == 0, 'all frames')
    status.assert_all_counted()
    assert status.dropped == {end: n for end, n in expected.items() if end != 'published'}
    assert status.count('superseded') == 0
    assert set(status.values) >= {f'dropped.{reason}' for reason in DropReason}
    assert victim.drive.state() == 'active'
    text = victim.log.read_text()
    lines = [line for line in text.splitlines() if 'dropped' in line]
    with capsys.disabled():
        print(f'\n{victim.transport}: {dict(expected)} in {seconds:.1f} s, {len(lines)} lines logged')
    reasons = len(expected) - 1
    assert reasons <= len(lines) <= reasons * (1 + seconds // LOG_PERIOD_S)
    assert len(text.splitlines()) < 20 + len(lines)
    assert text.isascii() and '\x1b' not in text, 'data from a camera cannot reach the terminal'
    assert 'Traceback' not in text


def test_hostile_requests(victim):
    """SetParameters of an unknown type raises inside rclpy's own service; no guard of a callback helps."""
    drive = victim.drive
    evil = [Parameter(name=name, value=ParameterValue(type=kind)) for name, kind in (
        ('top_k', 255), ('nonsense', 77), ('x' * 5000, 255), ('\x1b[31m', ParameterType.PARAMETER_STRING))]
    for parameter in evil:
        drive.send(SetParameters, 'set_parameters', SetParameters.Request(parameters=[parameter]))
    for number in (255, 99, 5, 60, 100):
        drive.send(ChangeState, 'change_state', ChangeState.Request(transition=Transition(id=number)))
    assert drive.state() == 'active'
    rejected, = drive.set(top_k=0)
    assert not rejected.successful and 'got 0, expected an integer in [1, 1000]' in rejected.reason
    raised = drive.status_when('node', lambda s: s.count('callback_errors') >= 3, 'the errors')
    assert raised.level == ERROR and raised.values['last_callback_error']
    assert victim.log.read_text().count('a callback failed') <= 6, 'repeated errors are logged every 5 s only'
    wait_for(victim.gives_result, 'a result after all that')


def test_max_pixels_is_the_limit(victim):
    """64 x 64 is max_pixels exactly; one row more is too large."""
    before = victim.drive.statuses('camera')[-1].dropped.get('too_large', 0)
    victim.results.clear()
    for rows in (64, 65):
        pixels = np.random.default_rng(rows).integers(0, 256, (rows, 64, 3), np.uint8)
        victim.send(image(pixels, 'bgr8', (7, rows)) if victim.transport == 'raw' else
                    compressed(png((64, rows), 8, 2, filtered(pixels)), (7, rows)))
    victim.drive.status_when('camera', lambda s: s.dropped.get('too_large', 0) == before + 1, 'the large one')
    assert [message.header.stamp.nanosec for message in victim.results] == [64]
