# SPDX-License-Identifier: Apache-2.0
"""`shufflenet-ros doctor`: each symptom of docs/troubleshooting.md really happens; doctor names it first."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
from driving import (
    BEST_EFFORT,
    BLUE,
    DARK,
    GREEN,
    RED,
    RELIABLE,
    Driver,
    Stream,
    compressed,
    driver,
    image,
    octets,
    plain,
)
from in_process import bench, ros_context, slow_down
from rclpy.context import Context
from replaying import FULL, ROOT, node_arguments, process, wait_for
from sensor_msgs.msg import CompressedImage, Image

from shufflenet_ros.cli import doctor as verb
from shufflenet_ros.cli.main import main
from shufflenet_ros.core.frame import Outputs
from shufflenet_ros.core.reasons import REMEDIES, DropReason
from shufflenet_ros.core.watch import Level
from shufflenet_ros.doctor.finding import Finding, error
from shufflenet_ros.doctor.graph import check_graph
from shufflenet_ros.doctor.processes import node_processes
from shufflenet_ros.ros.cameras import IMAGE, how_to_read
from shufflenet_ros.ros.probe import probe_node

SECONDS = 1.2
slow = pytest.mark.skipif(not FULL, reason='make test-full runs it')
TOPIC = '/eye/image_raw'
READ = ('-r', f'image_raw:={TOPIC}')


@dataclass(frozen=True)
class Robot:
    """Where a symptom is produced."""

    context: Context
    model: Path
    folder: Path
    outside: Context

    def node(self, *ros_arguments: str, **parameters: Any) -> AbstractContextManager[Any]:
        """A node in this process that reads TOPIC."""
        return bench(self.context, self.model, *READ, *ros_arguments, **parameters)

    def diagnose(self, *topics: str) -> list[Finding]:
        """What doctor finds about the node, the worst first."""
        with probe_node(self.outside, '', topics, SECONDS, 15.0) as seen:
            found = list(check_graph(seen, list(node_processes(Path('/'), os.environ))))
        return sorted(found, key=lambda finding: -finding.level)


@pytest.fixture(scope='module')
def outside(own_domain) -> Iterator[Context]:
    """Doctor's context. The node's knows it after the first test, which saves seconds of discovery."""
    with ros_context() as made:
        yield made


@pytest.fixture
def robot(context, model, tmp_path, outside) -> Robot:
    return Robot(context, model, tmp_path, outside)


@contextmanager
def no_publisher(robot: Robot) -> Iterator[None]:
    with robot.node() as b:
        b.operator.create_publisher(Image, '/attic/image_raw', BEST_EFFORT)
        b.bring_to('active')
        yield


@contextmanager
def camera_stops(robot: Robot) -> Iterator[None]:
    with robot.node(timeout_s=0.5) as b:
        b.bring_to('active')
        with Stream(b.camera(TOPIC), plain(RED), 20.0):
            b.status_when('camera', lambda s: s.values['state'] == 'OK', 'images')
        b.status_when('camera', lambda s: s.values['state'] == 'Timeout', 'the timeout')
        yield


@contextmanager
def reliable_node(robot: Robot) -> Iterator[None]:
    with robot.node(image_qos__reliability='reliable') as b:
        b.bring_to('active')
        with Stream(b.operator.create_publisher(Image, TOPIC, BEST_EFFORT), plain(RED), 10.0):
            yield


# A camera in its own process, with Fast DDS's default segments.
CAMERA = """
import array, sys, time, rclpy
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
rclpy.init()
node = Node('big_camera')
camera = node.create_publisher(Image, sys.argv[1], qos_profile_sensor_data)
image = Image(height=1080, width=1920, step=5760, encoding='rgb8', data=array.array('B', bytes(1080 * 5760)))
while True:
    camera.publish(image)
    time.sleep(0.05)
"""


@contextmanager
def large_images(robot: Robot) -> Iterator[None]:
    environment = {name: value for name, value in os.environ.items() if 'DEFAULT_PROFILES' not in name}
    with robot.node() as b, process(['-c', CAMERA, TOPIC], robot.folder / 'camera.log', env=environment):
        b.bring_to('active')
        b.wait_for_publisher(TOPIC)
        yield


@contextmanager
def depth_images(robot: Robot) -> Iterator[None]:
    with robot.node() as b:
        b.bring_to('active')
        with Stream(b.camera(TOPIC), image(np.zeros((8, 8, 2), np.uint8), '16UC1'), 10.0):
            yield


@contextmanager
def damaged_jpegs(robot: Robot) -> Iterator[None]:
    with robot.node(image_transport='compressed') as b:
        b.bring_to('active')
        data = jpeg(64)
        cut = data[:len(data) * 2 // 3] + b'\xff\xd9'
        with Stream(b.camera(f'{TOPIC}/compressed', CompressedImage), compressed(cut), 10.0):
            b.status_when('camera', lambda s: s.count('damaged') > 0, 'damage')
            yield


@contextmanager
def unconfigured(robot: Robot) -> Iterator[None]:
    with bench(robot.context, Path('no_such_model'), *READ) as b:
        assert not b.change(label='configure')
        yield


@contextmanager
def stalled(robot: Robot) -> Iterator[None]:
    with robot.node(stall_s=0.5, timeout_s=0.0) as b:
        b.bring_to('inactive')
        slow = slow_down(b.node)
        b.bring_to('active')
        slow.released.clear()
        with Stream(b.camera(TOPIC), plain(RED), 10.0):
            assert slow.begun.wait(10.0)
            try:
                yield
            finally:
                slow.released.set()


@contextmanager
def launch_is_gone(robot: Robot) -> Iterator[None]:
    """A process that starts the node as launch_ros does, is called ros2 launch, and gets SIGTERM."""
    (file := robot.folder / 'launch_params_a1b2').write_text('/**:\n  ros__parameters: {top_k: 3}\n')
    words = [sys.executable, *node_arguments({'model': robot.model}, *READ, '--params-file', str(file))]
    start = f'import subprocess; print(subprocess.Popen({words}).pid, flush=True); input()'
    launch = subprocess.Popen([sys.executable, '-c', start, 'ros2', 'launch'], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert launch.stdout
    node = int(launch.stdout.readline())
    try:
        launch.terminate()
        launch.wait(10.0)
        drive = Driver(context=robot.context)
        try:
            wait_for(lambda: drive.state() == 'active', 'the node')
            with Stream(drive.camera(TOPIC), plain(RED), 10.0):
                yield
        finally:
            drive.close()
    finally:
        os.kill(node, signal.SIGINT)
        launch.communicate()


# Symptom -> what causes it, and what doctor's first line and its remedy contain.
SYMPTOMS: dict[str, tuple[Callable[[Robot], AbstractContextManager[None]], str, str]] = {
    'no results, diagnostics say NotReceived':
        (no_publisher, f'{TOPIC}: no publisher', '`ros2 launch` with `image_topic:=/attic/image_raw`'),
    'diagnostics say Timeout': (camera_stops, 'no image arrived', 'check the camera'),
    'diagnostics report an incompatible QoS':
        (reliable_node, 'BEST_EFFORT VOLATILE; ERROR: Best effort publisher and reliable subscription',
         'set image_qos.reliability to best_effort'),
    'large images are lost between processes':
        (large_images, f'{TOPIC}: ', 'config/fastdds_large_images.xml'),
    'a `dropped.*` counter grows':
        (depth_images, 'frames as bad_encoding', "the camera's color or mono image"),
    '`damaged` grows': (damaged_jpegs, 'damaged JPEGs', 'check the camera and its link'),
    'the node stays `unconfigured`':
        (unconfigured, "model 'no_such_model': no such name", 'ros2 lifecycle set /shufflenet configure'),
    'diagnostics: a frame has been processed for many seconds':
        (stalled, 'a frame has been processed for', 'stall_exit_s with respawn:=true'),
    'SIGTERM to `ros2 launch` leaves the node running':
        (launch_is_gone, 'was started by ros2 launch, which has ended', 'kill -INT'),
}
ELSEWHERE = {'the launch stops with an error about `params_file`'}  # in test/cli/test_doctor.py


@pytest.mark.parametrize('symptom', SYMPTOMS)
def test_the_first_line_is_the_cause(robot, symptom):
    produce, cause, remedy = SYMPTOMS[symptom]
    with produce(robot):
        first, *others = robot.diagnose()
    assert cause in first.found and remedy in first.remedy, '\n'.join(map(str, [first, *others]))
    assert first.level > Level.OK and first.expected


def test_every_symptom_of_the_page_has_its_test(repo_root):
    page = (repo_root / 'docs' / 'troubleshooting.md').read_text()
    table = page.split('| symptom |')[1].split('\n\n')[0].splitlines()[2:]
    assert {line.split(' | ')[0].strip('| ') for line in table} == {*SYMPTOMS, *ELSEWHERE}


def test_the_sample_on_the_page(repo_root):
    remedy = how_to_read('/camera/image_raw', '/image_raw', IMAGE, '')
    found = error('images', '/image_raw: no publisher', f'a publisher of {IMAGE}',
                  f'images are on /camera/image_raw: {remedy}')
    page = (repo_root / 'docs' / 'troubleshooting.md').read_text()
    assert '\n'.join(verb._text([found], [found])).split('\n\n')[0] in page


def jpeg(side: int) -> bytes:
    noise = np.random.default_rng(0).integers(0, 255, (side, side, 3), np.uint8)
    return cv2.imencode('.jpg', noise)[1].tobytes()


class Moody:
    """The real backend, but green images give NaN, blue ones an error, and dark ones use up the memory."""

    def __init__(self, backend: Any) -> None:
        self._backend, self.name, self.provider = backend, backend.name, backend.provider

    def run(self, tensor: np.ndarray) -> Outputs:
        red, green, blue = tensor[0, 0, 0]
        if not red + green + blue:
            raise MemoryError
        if blue > red:
            raise RuntimeError('blue')
        outputs: Outputs = self._backend.run(tensor)
        return Outputs(outputs.logits * np.float32(np.nan), None) if green > red else outputs


def raw(**fields: Any) -> Image:
    """A red image with other fields."""
    message = plain(RED)
    for name, value in fields.items():
        setattr(message, name, value)
    return message


BAD = {
    DropReason.BAD_ENCODING: raw(encoding='16UC1'),
    DropReason.BAD_SIZE: raw(width=0),
    DropReason.BAD_STEP: raw(step=7),
    DropReason.SHORT_DATA: raw(height=9),
    DropReason.LONG_DATA: raw(height=7),
    DropReason.TOO_LARGE: plain(RED, size=(40, 40)),
    DropReason.TOO_SMALL: raw(width=1, height=1, step=1, encoding='bayer_rggb8', data=octets(b'1')),
    DropReason.NON_FINITE: plain(GREEN),
    DropReason.BACKEND_ERROR: plain(BLUE),
    DropReason.NO_MEMORY: plain(DARK),
    DropReason.BAD_FORMAT: compressed(b'not an image'),
    DropReason.TRUNCATED: compressed(jpeg(24)[:400]),
}


def test_each_reason_to_drop_frames_has_its_cause_and_remedy(robot):
    """A camera for each. Throttled frames are what the operator wants, and stale ones have a test below."""
    assert {*BAD, DropReason.STALE, DropReason.THROTTLED} == {*DropReason} == {*REMEDIES}
    for kind, transport, suffix in ((Image, 'raw', ''), (CompressedImage, 'compressed', '/compressed')):
        bad = {str(reason): message for reason, message in BAD.items() if isinstance(message, kind)}
        with ExitStack() as stack:
            b = stack.enter_context(robot.node(cameras=[*bad], image_transport=transport, max_pixels=1000))
            b.bring_to('inactive')
            b.node._processor._classifier.backend = Moody(b.node._processor._classifier.backend)
            b.bring_to('active')
            for reason, message in bad.items():
                camera = b.camera(f'/{reason}/image_raw{suffix}', kind)
                stack.enter_context(Stream(camera, message, 5.0))
            everything = robot.diagnose()
        assert {finding.level for finding in everything if finding.name == 'images'} == {Level.OK}, everything
        found = {finding.found: finding.remedy for finding in everything if finding.name == 'dropped'}
        for reason in bad:
            cause, remedy = REMEDIES[DropReason(reason)]
            told, = (text for text in found if text.startswith(f'camera {reason}: '))
            assert told.endswith(f'frames as {reason}: {cause}') and found[told] == remedy


@slow
def test_a_healthy_node_has_no_findings_but_results(robot):
    with robot.node(max_age_s=5.0) as b:
        b.bring_to('active')
        camera = b.camera(TOPIC)
        with Stream(camera, plain(RED), 10.0):
            b.status_when('camera', lambda s: s.count('published') > 0, 'results')
            found = robot.diagnose(TOPIC)
            assert {finding.level for finding in found} == {Level.OK}, found
            text = {finding.name: finding.found for finding in found}
        assert '8x8 rgb8 at ' in text['images'] and 'new results' in text['results']
        for _ in range(20):
            camera.publish(plain(RED))  # its stamp is of 1970
        assert 'stale' in ' '.join(finding.found for finding in robot.diagnose() if finding.name == 'dropped')


def test_the_whole_command(robot, monkeypatch, capfd):
    (robot.folder / 'dev' / 'shm').mkdir(parents=True)
    monkeypatch.setattr(verb, 'ROOT', str(robot.folder))
    with robot.node() as b:
        b.bring_to('active')
        with Stream(b.camera(TOPIC), plain(RED), 10.0):
            status = main(['doctor', '--node', '/shufflenet', '--model', 'tiny'])
    out = capfd.readouterr().out
    problems = [line for line in out.splitlines() if line.startswith(('WARN', 'ERROR'))]
    assert status == bool(problems) and out.startswith('nothing is wrong') == (not problems)
    # An environment may have two wheels of OpenCV, which doctor is right about.
    assert [line for line in problems if ' overwrite each other' not in line] == [], out
    names = {line.split('  ')[0] for line in out.split('\n\n')[1].splitlines()[1:]}
    assert names == {'libraries', 'cpu', 'model', 'ROS', 'discovery', 'DDS profile', 'node', 'images',
                     'results', 'shared memory', 'heat', 'memory', 'load', 'folders'}


@slow
def test_a_topic_that_the_node_does_not_read(robot):
    with robot.node() as b:
        b.bring_to('active')
        b.operator.create_publisher(Image, '/attic/image_raw', RELIABLE)
        first = robot.diagnose('/attic/image_raw')[0]
    assert first.found == f'/shufflenet reads {TOPIC}, not /attic/image_raw'
    assert 'image_topic:=/attic/image_raw' in first.remedy


@slow
def test_a_camera_of_the_other_type(robot):
    with driver('/camera') as camera, robot.node() as b:
        camera.operator.create_publisher(CompressedImage, TOPIC, RELIABLE)
        b.bring_to('active')
        first = robot.diagnose()[0]
    assert (first.found, first.expected) == (
        f'{TOPIC}: it has sensor_msgs/msg/CompressedImage', 'sensor_msgs/msg/Image')


@slow
def test_twins_in_a_simulation_without_clock(robot):
    twin = {'name': 'twin', 'use_sim_time': True}
    with ros_context() as other, bench(other, robot.model, *READ, **twin) as a, robot.node(**twin) as b:
        for node in (a.node, b.node):  # a service call could reach either
            node.trigger_configure()
        found = {finding.found: finding.remedy for finding in robot.diagnose()}
    assert any(text.startswith('2 nodes are named /twin') for text in found), found
    assert 'use_sim_time is true, but /clock has no publisher' in found
    assert found['/twin is inactive'] == 'ros2 lifecycle set /twin activate'


def test_a_node_of_another_name(outside):
    with probe_node(outside, '/shufflenet', [], 0.5, 0.6) as seen:
        seen.nodes['/robot1/shufflenet'] = 1
        first = next(iter(check_graph(seen, [])))
    assert first.found == 'no node /shufflenet, but /robot1/shufflenet'
    assert first.remedy == 'shufflenet-ros doctor --node /robot1/shufflenet'


def test_foreign_diagnostics_end_no_check(outside):
    """Anybody can publish in the node's name, with a topic that is none, or without what the node sends."""
    values = {'topic': 'no topic', 'published': '9'}
    status = DiagnosticStatus(values=[KeyValue(key=key, value=value) for key, value in values.items()])
    first = DiagnosticStatus(values=[KeyValue(key='published', value='1')])
    with probe_node(outside, '/shufflenet', [], 0.5, 0.6) as seen:
        seen.nodes['/shufflenet'], seen.state = 1, 'active'
        seen.reports = {'camera': (first, status)}
        seen.look()
        seen.nodes['/shufflenet'] = 1
        found = [one.found for one in check_graph(seen, [])]
    assert not seen.cameras and any('8 new results, ? ms' in text for text in found)


@pytest.mark.parametrize(('environment', 'remedy'), [
    ({'ROS_DOMAIN_ID': '99'}, 'in this shell: export ROS_DOMAIN_ID={domain}'),
    ({}, 'wait if it has just started')])
def test_a_node_process_that_is_out_of_sight(outside, tmp_path, environment, remedy):
    """An invented /proc: a node with settings like these tests' own, which no graph shows."""
    domain = os.environ['ROS_DOMAIN_ID']
    for pid, command in (('1', 'init'), ('7', 'python3\0-m\0shufflenet_ros.ros.main\0--ros-args\0')):
        folder = tmp_path / 'proc' / pid
        folder.mkdir(parents=True)
        (folder / 'cmdline').write_text(command)
        (folder / 'stat').write_text(f'{pid} (a) b) S 1 1')
        (folder / 'environ').write_text(f'ROS_DOMAIN_ID={domain}\0ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST\0')
    processes = list(node_processes(tmp_path, os.environ | environment))
    with probe_node(outside, '', [], 0.5, 1.0) as seen:
        first = next(iter(check_graph(seen, processes)))
    assert first.found.startswith('process 7 runs a node')
    assert first.remedy.startswith(remedy.format(domain=domain))
