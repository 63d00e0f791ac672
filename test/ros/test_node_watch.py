# SPDX-License-Identifier: Apache-2.0
"""A running node watches its cameras: gone and back (B7), too slow (B8), speaking another QoS (B10)."""

from __future__ import annotations

import itertools
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2')
pytest.importorskip('onnx', reason='needs the extra export')

from driving import (
    BEST_EFFORT,
    RED,
    RELIABLE,
    Driver,
    Stream,
    active_node,
    compressed,
    driver,
    plain,
    stamped,
)
from image_vectors import filtered, png, smooth_rgb
from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from replaying import wait_for
from sensor_msgs.msg import CompressedImage, Image
from vision_msgs.msg import Classification

TOGGLES, ON_OFF_S, TIMEOUT_S, RATE_HZ = 4, 1.5, 0.7, 20.0
ERROR = 2


@pytest.fixture(scope='module')
def watching(bundle: Path, own_domain: None,
             tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Driver, Path]]:
    """A driver of a node with its default QoS, and the node's log."""
    log = tmp_path_factory.mktemp('log') / 'node.log'
    with driver() as drive, active_node(drive, log, {'model': bundle, 'timeout_s': TIMEOUT_S}):
        yield drive, log


@pytest.fixture
def at_state(watching: tuple[Driver, Path]) -> Callable[[str], Any]:
    """Waits until diagnostics say that the camera is in a state."""
    def wait(state: str) -> Any:
        return watching[0].status_when('camera', lambda s: s.values['state'] == state, f'state {state}')
    return wait


def test_a_camera_that_never_came_has_a_state_of_its_own(
        watching: tuple[Driver, Path], at_state: Callable[[str], Any]) -> None:
    status = at_state('NotReceived')
    assert status.level == ERROR and status.values['publishers'] == '0'
    assert '/image_raw: 0 publisher(s)' in status.message and 'is the camera driver running' in status.message
    wait_for(lambda: 'no publisher: is the camera driver running' in watching[1].read_text(), 'the warning')


def test_the_documentation_has_each_key_and_no_value_is_nan(
        watching: tuple[Driver, Path], at_state: Callable[[str], Any], repo_root: Path) -> None:
    """Before the first frame: what is not known yet is empty."""
    section = (repo_root / 'docs' / 'node.md').read_text().split('## Diagnostics')[1].split('\n## ')[0]
    named = set(re.findall('`([a-z0-9_.<>]+)`', section))
    camera, node = at_state('NotReceived'), watching[0].statuses('node')[-1]
    unknown = {key for key, value in camera.values.items() if value == ''}
    assert unknown == {'rate_hz'} | {key for key in camera.values if key.endswith('_ms')}
    for key, value in (camera.values | node.values).items():
        general = re.sub('^[a-z]+(_p[0-9]+_ms)$', r'<stage>\1', key)
        assert re.sub('^dropped[.].*', 'dropped.<reason>', general) in named, key
        assert value != 'nan', key


def test_a_camera_that_stops_and_comes_back_four_times(
        watching: tuple[Driver, Path], at_state: Callable[[str], Any],
        capsys: pytest.CaptureFixture[str]) -> None:
    """On, and then toggled four times: off, on, off, on."""
    drive, log = watching
    camera, image = drive.camera(qos=BEST_EFFORT), plain(RED)
    delays: dict[str, list[float]] = {'Timeout': [], 'OK': []}
    with Stream(camera, image, RATE_HZ):
        at_state('OK')
        time.sleep(1.0)
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
    drive.node.destroy_publisher(camera)
    states = [state for state, _ in itertools.groupby(status.values['state'] for status in reported)]
    assert states == ['OK', 'Timeout', 'OK', 'Timeout', 'OK'], 'exactly four transitions'
    assert {(status.values['state'], status.level) for status in reported} == {('OK', 0), ('Timeout', ERROR)}
    assert {s.values['rate_hz'] for s in reported if s.values['state'] == 'Timeout'} == {'0.00'}
    assert '0.00' not in {s.values['rate_hz'] for s in reported if s.values['state'] == 'OK'}
    with capsys.disabled():
        print('\nseconds until noticed:', {state: [round(s, 2) for s in d] for state, d in delays.items()})
    wait_for(lambda: log.read_text().count('no frame for') >= warned + TOGGLES // 2, 'the warnings')
    assert log.read_text().count('no frame for') <= warned + TOGGLES // 2 + 1


def test_the_five_states(watching: tuple[Driver, Path], at_state: Callable[[str], Any]) -> None:
    """The same camera, measured against what an operator expects of it."""
    drive, _ = watching
    wait_for(lambda: 'NotReceived' in {status.values['state'] for status in drive.statuses('camera')},
             'the state before the first frame')
    camera = drive.camera(qos=BEST_EFFORT)
    with Stream(camera, plain(RED), RATE_HZ):
        for expected_rate_hz, state, level in (
                (0.0, 'OK', 0), (30.0, 'WarnRate', 1), (80.0, 'ErrorRate', ERROR), (20.0, 'OK', 0)):
            verdict, = drive.set(expected_rate_hz=expected_rate_hz)
            assert verdict.successful
            status = at_state(state)
            assert status.level == level
            if expected_rate_hz:
                assert f'Hz, expected {expected_rate_hz:g} Hz' in status.message
    assert at_state('Timeout').level == ERROR
    drive.node.destroy_publisher(camera)
    drive.set(expected_rate_hz=0.0)


def test_every_publisher_reaches_the_default_subscription(watching: tuple[Driver, Path]) -> None:
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
        camera, began = drive.camera(qos=qos), time.monotonic()

        def answered(camera: Any = camera, number: int = number) -> bool:
            camera.publish(stamped(plain(RED), (4000 + number, 0)))  # best-effort: again until one gets there
            return any(message.header.stamp.sec == 4000 + number for message in list(heard))

        wait_for(answered, f'an answer to {qos}', 10.0)
        print(f'{reliability.name} {durability.name}: {time.monotonic() - began:.2f} s')
        drive.node.destroy_publisher(camera)
    assert len(combinations) == 8
    assert 'is incompatible with' not in log.read_text()


def test_a_publisher_that_cannot_serve_is_reported(bundle: Path, own_domain: None, tmp_path: Path) -> None:
    log = tmp_path / 'node.log'
    parameters = {'model': bundle, 'image_qos.reliability': 'reliable', 'timeout_s': TIMEOUT_S}
    remaps = ('-r', '__node:=strict', '-r', 'image_raw:=/strict/image_raw')
    with driver('/strict') as drive:
        camera = drive.node.create_publisher(Image, '/strict/image_raw', BEST_EFFORT)
        with active_node(drive, log, parameters, *remaps):
            status = drive.status_when('camera', lambda s: 'incompatible_qos' in s.values, 'the policy')
            assert status.level == ERROR and status.values['incompatible_qos'] == 'RELIABILITY'
            assert 'incompatible QoS policy on /strict/image_raw: RELIABILITY' in status.message
            hint = 'the RELIABILITY policy does not match: set image_qos.*'
            drive.status_when('camera', lambda s: hint in s.message, 'the remedy')
            wait_for(lambda: '[ERROR]' in log.read_text(), 'the error')
            errors = [line for line in log.read_text().splitlines() if line.startswith('[ERROR]')]
            assert len(errors) == 1, 'reported once, not again and again'
            assert all(word in errors[0] for word in (
                '/strict/image_raw', 'RELIABILITY policy', 'BEST_EFFORT VOLATILE', 'image_qos.*'))
            heard = drive.hear(Classification, '/strict/classification')
            drive.node.destroy_publisher(camera)
            camera = drive.camera('/strict/image_raw', qos=RELIABLE)
            time.sleep(0.3)
            camera.publish(plain(RED))
            wait_for(lambda: heard, 'an answer to a publisher that can')


def test_a_publisher_of_another_type_is_reported(bundle: Path, own_domain: None, tmp_path: Path) -> None:
    log = tmp_path / 'node.log'
    remaps = ('-r', '__node:=typed', '-r', 'image_raw:=/typed/image_raw')
    with driver('/typed') as drive:
        drive.node.create_publisher(CompressedImage, '/typed/image_raw', RELIABLE)
        with active_node(drive, log, {'model': bundle, 'timeout_s': TIMEOUT_S}, *remaps):
            hint = 'they publish sensor_msgs/msg/CompressedImage, expected sensor_msgs/msg/Image'
            drive.status_when('camera', lambda s: hint in s.message, 'the type')


def test_where_images_are_is_reported_and_what_to_type_works(
        bundle: Path, own_domain: None, tmp_path: Path, repo_root: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    """The camera is elsewhere and compressed: the hint names it, and a node that is started so answers."""
    # The cameras of other tests are none of this one's.
    monkeypatch.setenv('ROS_DOMAIN_ID', str((int(os.environ['ROS_DOMAIN_ID']) + 100) % 232))
    log = tmp_path / 'node.log'
    with driver('/lost') as drive:
        camera = drive.node.create_publisher(CompressedImage, '/attic/eye/compressed', RELIABLE)
        drive.node.create_publisher(Image, '/lost/debug_image', RELIABLE)  # what the node itself sends
        with active_node(drive, log, {'model': bundle}, '-r', '__node:=lost', '-r', 'image_raw:=/nowhere'):
            said = drive.status_when('camera', lambda s: 'images are on' in s.message, 'the hint').message
            wait_for(lambda: 'no frame received yet. /nowhere: 0 publisher(s)' in log.read_text(), 'the log')
        assert 'NotReceived: /nowhere: ' in said and '/lost/' not in said
        assert 'no publisher; images are on /attic/eye/compressed: ' in said
        launch, = re.findall('`ros2 launch` with `(.*?)`', said)
        assert launch == 'image_transport:=compressed image_topic:=/attic/eye'
        shipped = (repo_root / 'launch' / 'classify.launch.py').read_text()
        assert all(f"('{word.split(':=')[0]}'," in shipped for word in launch.split())
        words = re.findall('`ros2 run` with `--ros-args (.*?)`', said)[0].split()
        heard = drive.hear(Classification, '/lost/classification')
        with active_node(drive, tmp_path / 'again.log', {'model': bundle}, '-r', '__node:=lost', *words):
            image = compressed(png((32, 24), 8, 2, filtered(smooth_rgb(24, 32))))

            def answered() -> bool:
                camera.publish(image)
                return bool(heard)
            wait_for(answered, 'a result')
