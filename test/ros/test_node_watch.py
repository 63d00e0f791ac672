# SPDX-License-Identifier: Apache-2.0
"""A node watches its cameras: gone and back (B7), too slow (B8), with another QoS (B10), somewhere else."""

from __future__ import annotations

import itertools
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from driving import (
    BEST_EFFORT,
    ERROR,
    RED,
    RELIABLE,
    Driver,
    Stream,
    active_node,
    compressed,
    driver,
    plain,
    stamp_of,
)
from image_vectors import filtered, png, smooth_rgb
from in_process import bench, ros_context
from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from replaying import wait_for
from sensor_msgs.msg import CompressedImage, Image
from vision_msgs.msg import Classification

TOGGLES, ON_OFF_S, TIMEOUT_S, RATE_HZ = 4, 1.0, 0.7, 20.0


@pytest.fixture(scope='module')
def watching(model, own_domain, tmp_path_factory) -> Iterator[tuple[Driver, Path]]:
    """A driver of a node with its default QoS, and the node's log."""
    log = tmp_path_factory.mktemp('log') / 'node.log'
    with driver() as drive, active_node(drive, log, {'model': model, 'timeout_s': TIMEOUT_S}):
        yield drive, log


@pytest.fixture
def at_state(watching) -> Callable[[str], Any]:
    """Waits until diagnostics report that the camera is in a state."""
    return lambda state: watching[0].status_when(
        'camera', lambda s: s.values['state'] == state, f'state {state}')


def test_a_camera_that_never_came_has_a_state_of_its_own(watching, at_state):
    status = at_state('NotReceived')
    assert status.level == ERROR and status.values['publishers'] == '0'
    assert '/image_raw: 0 publisher(s)' in status.message and 'is the camera driver running' in status.message
    wait_for(lambda: 'no publisher: is the camera driver running' in watching[1].read_text(), 'the warning')


def test_each_key_is_documented_and_no_value_is_nan(watching, at_state, repo_root):
    """Before the first frame: values that are not known yet are empty."""
    section = (repo_root / 'docs' / 'node.md').read_text().split('## Diagnostics')[1].split('\n## ')[0]
    named = set(re.findall('`([a-z0-9_.<>]+)`', section))
    camera, node = at_state('NotReceived'), watching[0].statuses('node')[-1]
    unknown = {key for key, value in camera.values.items() if value == ''}
    assert unknown == {'rate_hz'} | {key for key in camera.values if key.endswith('_ms')}
    for key, value in (camera.values | node.values).items():
        general = re.sub('^[a-z]+(_p[0-9]+_ms)$', r'<stage>\1', key)
        assert re.sub('^dropped[.].*', 'dropped.<reason>', general) in named, key
        assert value != 'nan', key


def test_a_camera_that_stops_and_comes_back_four_times(watching, at_state, capsys):
    """On, and then toggled four times: off, on, off, on."""
    drive, log = watching
    camera, image = drive.camera(qos=BEST_EFFORT), plain(RED)
    delays: dict[str, list[float]] = {'Timeout': [], 'OK': []}
    with Stream(camera, image, RATE_HZ):
        at_state('OK')
        time.sleep(0.5)
        first = len(drive.statuses('camera'))
    warned = log.read_text().count('no frame for')
    for toggle in range(TOGGLES):
        toggled = time.monotonic()
        state = 'OK' if toggle % 2 else 'Timeout'
        if state == 'Timeout':
            at_state(state)
            delays[state].append(time.monotonic() - toggled)
            time.sleep(max(0.0, toggled + ON_OFF_S - time.monotonic()))
        else:
            with Stream(camera, image, RATE_HZ):
                at_state(state)
                delays[state].append(time.monotonic() - toggled)
                # On until the end after the last toggle: stopping would be a fifth one.
                time.sleep(ON_OFF_S)
                reported = drive.statuses('camera')[first - 1:]
    drive.operator.destroy_publisher(camera)
    states = [state for state, _ in itertools.groupby(status.values['state'] for status in reported)]
    assert states == ['OK', 'Timeout', 'OK', 'Timeout', 'OK'], 'exactly four transitions'
    assert {(status.values['state'], status.level) for status in reported} == {('OK', 0), ('Timeout', ERROR)}
    assert {s.values['rate_hz'] for s in reported if s.values['state'] == 'Timeout'} == {'0.00'}
    assert '0.00' not in {s.values['rate_hz'] for s in reported if s.values['state'] == 'OK'}
    with capsys.disabled():
        print('\nseconds until noticed:', {state: [round(s, 2) for s in d] for state, d in delays.items()})
    wait_for(lambda: log.read_text().count('no frame for') >= warned + TOGGLES // 2, 'the warnings')
    assert log.read_text().count('no frame for') <= warned + TOGGLES // 2 + 1


def test_the_five_states(watching, at_state):
    """The same camera, measured against what an operator expects of it."""
    drive, _ = watching
    wait_for(lambda: 'NotReceived' in {status.values['state'] for status in drive.statuses('camera')},
             'the state before the first frame')
    camera = drive.camera(qos=BEST_EFFORT)
    with Stream(camera, plain(RED), RATE_HZ):
        for expected_rate_hz, state, level in (
                (0.0, 'OK', 0), (30.0, 'WarnRate', 1), (80.0, 'ErrorRate', ERROR), (20.0, 'OK', 0)):
            result, = drive.set(expected_rate_hz=expected_rate_hz)
            assert result.successful
            status = at_state(state)
            assert status.level == level
            if expected_rate_hz:
                assert f'Hz, expected {expected_rate_hz:g} Hz' in status.message
    assert at_state('Timeout').level == ERROR
    drive.operator.destroy_publisher(camera)
    drive.set(expected_rate_hz=0.0)


def test_every_publisher_reaches_the_default_subscription(watching):
    """Reliability x durability x deadline: row B10's eight publishers."""
    drive, log = watching
    heard = drive.hear(Classification, '/shufflenet/classification')
    drive.wait_for_publisher('/shufflenet/classification')
    combinations = list(itertools.product(
        (ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT),
        (DurabilityPolicy.VOLATILE, DurabilityPolicy.TRANSIENT_LOCAL), (None, Duration(seconds=1))))
    for number, (reliability, durability, deadline) in enumerate(combinations):
        qos = QoSProfile(depth=5, reliability=reliability, durability=durability)
        if deadline is not None:
            qos.deadline = deadline
        camera = drive.camera(qos=qos)

        def has_result(camera: Any = camera, stamp: tuple[int, int] = (4000 + number, 0)) -> bool:
            camera.publish(plain(RED, stamp))  # best effort: again until one arrives
            return any(stamp_of(message) == stamp for message in list(heard))

        wait_for(has_result, f'a result with {qos}', 10.0)
        drive.operator.destroy_publisher(camera)
    assert len(combinations) == 8
    assert 'is incompatible with' not in log.read_text()


def test_an_incompatible_publisher_is_reported(context, model, capfd):
    parameters = {'image_qos.reliability': 'reliable', 'timeout_s': TIMEOUT_S}
    with bench(context, model, '-r', 'image_raw:=/strict/image_raw', name='strict', **parameters) as b:
        camera = b.operator.create_publisher(Image, '/strict/image_raw', BEST_EFFORT)
        b.bring_to('active')
        status = b.status_when('camera', lambda s: 'incompatible_qos' in s.values, 'the policy')
        assert status.level == ERROR and status.values['incompatible_qos'] == 'RELIABILITY'
        assert 'incompatible QoS policy on /strict/image_raw: RELIABILITY' in status.message
        hint = 'the RELIABILITY policy does not match: set image_qos.*'
        b.status_when('camera', lambda s: hint in s.message, 'the remedy')
        error, = re.findall(r'\[ERROR\].*', capfd.readouterr().err)
        assert all(word in error for word in (
            '/strict/image_raw', 'RELIABILITY policy', 'BEST_EFFORT VOLATILE', 'image_qos.*'))
        b.operator.destroy_publisher(camera)
        camera = b.camera('/strict/image_raw', qos=RELIABLE)
        wait_for(lambda: camera.publish(plain(RED)) or b.heard, 'a result with a publisher that matches')
        assert '[ERROR]' not in capfd.readouterr().err, 'reported once, not again and again'


def test_a_publisher_of_another_type_is_reported(context, model):
    # The camera has its own context, because in one context Fast DDS allows only one type per topic.
    with (driver('/camera') as camera,
          bench(context, model, '-r', 'image_raw:=/typed/image_raw', name='typed', timeout_s=TIMEOUT_S) as b):
        camera.operator.create_publisher(CompressedImage, '/typed/image_raw', RELIABLE)
        b.bring_to('active')
        hint = 'they publish sensor_msgs/msg/CompressedImage, expected sensor_msgs/msg/Image'
        b.status_when('camera', lambda s: hint in s.message, 'the type')


def test_topics_with_images_are_reported_and_the_suggested_commands_work(
        own_domain, model, repo_root, monkeypatch, capfd):
    """The camera is elsewhere and compressed: the hint has its topic, and a node started so reads it."""
    # In a domain without the cameras of other tests.
    monkeypatch.setenv('ROS_DOMAIN_ID', str((int(os.environ['ROS_DOMAIN_ID']) + 100) % 232))
    with ros_context() as context:
        with bench(context, model, '-r', 'image_raw:=/nowhere', name='lost') as b:
            b.operator.create_publisher(CompressedImage, '/attic/eye/compressed', RELIABLE)
            b.operator.create_publisher(Image, '/lost/debug_image', RELIABLE)  # as the node itself publishes
            b.bring_to('active')
            text = b.status_when('camera', lambda s: 'images are on /attic' in s.message, 'the hint').message
            logged = ''

            def warned() -> bool:
                nonlocal logged
                logged += capfd.readouterr().err
                return 'no frame received yet. /nowhere: 0 publisher(s)' in logged
            wait_for(warned, 'the warning')
        assert 'NotReceived: /nowhere: ' in text and '/lost/' not in text
        assert 'no publisher; images are on /attic/eye/compressed: ' in text
        launch, = re.findall('`ros2 launch` with `(.*?)`', text)
        assert launch == 'image_transport:=compressed image_topic:=/attic/eye'
        shipped = (repo_root / 'launch' / 'classify.launch.py').read_text()
        assert all(f"('{word.split(':=')[0]}'," in shipped for word in launch.split())
        words = re.findall('`ros2 run` with `--ros-args (.*?)`', text)[0].split()
        with bench(context, model, *words, name='lost') as b:
            b.bring_to('active')
            camera = b.camera('/attic/eye/compressed', CompressedImage)
            image = compressed(png((32, 24), 8, 2, filtered(smooth_rgb(24, 32))))
            wait_for(lambda: camera.publish(image) or b.heard, 'a result')
