# SPDX-License-Identifier: Apache-2.0
"""The hint about a camera without images: which topics have images, in an invented ROS graph."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
from rclpy.qos import QoSProfile
from rclpy.validate_full_topic_name import validate_full_topic_name

from shufflenet_ros.core.watch import RateWatch
from shufflenet_ros.ros.cameras import COMPRESSED, IMAGE, MAX_LOOKUPS, Camera

QOS = QoSProfile(depth=5)


def camera(graph: dict[str, str], transport: str = 'raw', name: str = '') -> tuple[Camera, list[str]]:
    """A camera and the topics that it looks up; graph is topic -> type, `-` with only a subscription."""
    lookups: list[str] = []

    def publishers(topic: str) -> list[Any]:
        validate_full_topic_name(topic)  # as rclpy does: it raises for names that are invalid in ROS
        lookups.append(topic)
        kind = graph.get(topic, '-')
        return [] if kind == '-' else [SimpleNamespace(topic_type=kind, qos_profile=QOS)]

    node: Any = SimpleNamespace(
        resolve_topic_name=lambda topic: f'/{topic}', create_publisher=lambda *_, **__: None,
        get_parameters_by_prefix=lambda _: {},
        get_fully_qualified_name=lambda: '/me', get_publishers_info_by_topic=publishers,
        get_topic_names_and_types=lambda: [(topic, [IMAGE if kind == '-' else kind])
                                           for topic, kind in graph.items()])
    return Camera(node, name, transport, QOS, RateWatch(time.monotonic)), lookups


def hint(graph: dict[str, str], transport: str = 'raw', name: str = '') -> str:
    """The hint's text after the publishers and the QoS."""
    return camera(graph, transport, name)[0].silence_hint().split('; ', 2)[2]


@pytest.mark.parametrize('graph', [
    {}, {'/image_raw': '-', '/other': '-'}, {'/scan': 'sensor_msgs/msg/LaserScan'},
    {'/me/debug_image': IMAGE}, {'/depth/compressedDepth': COMPRESSED}])
def test_without_images_it_asks_about_the_driver(graph):
    assert hint(graph).startswith('no publisher: is the camera driver running')


@pytest.mark.parametrize(('transport', 'graph', 'launch', 'run'), [
    ('raw', {'/cam/raw': IMAGE}, 'image_topic:=/cam/raw', '-r image_raw:=/cam/raw'),
    ('raw', {'/image_raw/compressed': COMPRESSED}, 'image_transport:=compressed',
     '-p image_transport:=compressed'),
    ('compressed', {'/image_raw': IMAGE}, 'image_transport:=raw', '-p image_transport:=raw'),
    ('compressed', {'/a/compressed': COMPRESSED}, 'image_topic:=/a', '-r image_raw:=/a'),
    ('compressed', {'/a': IMAGE, '/b/compressed': COMPRESSED}, 'image_topic:=/b', '-r image_raw:=/b'),
    ('compressed', {'/a': IMAGE}, 'image_transport:=raw image_topic:=/a',
     '-p image_transport:=raw -r image_raw:=/a'),
])
def test_the_remedy_reads_a_topic_of_the_same_transport_if_there_is_one(transport, graph, launch, run):
    text = hint(graph, transport)
    assert text.startswith('no publisher; images are on ')
    assert text.endswith(f': `ros2 launch` with `{launch}`, or `ros2 run` with `--ros-args {run}`')


def test_one_of_several_cameras_is_remapped_alone():
    text = hint({'/usb/image': IMAGE}, name='front')
    assert text.endswith(': `ros2 run` with `--ros-args -r front/image_raw:=/usb/image`')


def test_only_some_of_many_topics_are_listed_and_odd_names_are_harmless():
    odd = {f'/odd{name}/image': IMAGE for name in ('\x1b[31m', '-bar', ' b', '\u202e', '')}
    text = hint({'/1cam/image': IMAGE, **odd, **{f'/cam{i:03}/image': IMAGE for i in range(300)}})
    assert '/cam004/' in text and ' and more: ' in text and '/cam005/' not in text
    assert text.isprintable() and len(text) < 900 and 'odd' not in text


def test_a_huge_graph_costs_a_bounded_number_of_lookups():
    topics, lookups = camera({f'/t{i}': '-' for i in range(5000)})
    assert topics.silence_hint() == topics.silence_hint()
    assert len(lookups) <= MAX_LOOKUPS + 1


def test_a_publisher_of_the_wrong_type_is_reported_with_topics_that_have_images():
    text = hint({'/image_raw': COMPRESSED, '/cam/raw': IMAGE})
    assert text.startswith(f'they publish {COMPRESSED}, expected {IMAGE}; images are on /cam/raw: ')
    assert hint({'/image_raw': COMPRESSED}).endswith('; no topic here has images that this node can read')
