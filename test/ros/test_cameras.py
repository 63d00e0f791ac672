# SPDX-License-Identifier: Apache-2.0
"""What a silent camera's hint says of the topics that have images, over an invented graph."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2')

from rclpy.qos import QoSProfile
from rclpy.validate_full_topic_name import validate_full_topic_name

from shufflenet_ros.ros.cameras import COMPRESSED, IMAGE, MAX_LOOKUPS, CameraTopics

QOS = QoSProfile(depth=5)


def hint(graph: dict[str, str], transport: str = 'raw', name: str = '') -> str:
    """The words after the publishers and the QoS; graph is topic -> type, `-` for a mere subscription."""
    def publishers(topic: str) -> list[Any]:
        validate_full_topic_name(topic)  # as rclpy does: it raises for names that are none in ROS
        kind = graph.get(topic, '-')
        return [] if kind == '-' else [SimpleNamespace(topic_type=kind, qos_profile=QOS)]

    node: Any = SimpleNamespace(
        resolve_topic_name=lambda topic: f'/{topic}', create_publisher=lambda *_, **__: None,
        get_parameters_by_prefix=lambda _: {},
        get_fully_qualified_name=lambda: '/me', get_publishers_info_by_topic=publishers,
        get_topic_names_and_types=lambda: [(topic, [IMAGE if kind == '-' else kind])
                                           for topic, kind in graph.items()])
    return CameraTopics(node, name, transport, QOS).silence_hint().split('; ', 2)[2]


def test_without_images_the_driver_is_asked_for() -> None:
    for graph in ({}, {'/image_raw': '-', '/other': '-'}, {'/scan': 'sensor_msgs/msg/LaserScan'},
                  {'/me/debug_image': IMAGE}, {'/depth/compressedDepth': COMPRESSED}):
        assert hint(graph).startswith('no publisher: is the camera driver running'), graph


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
def test_the_remedy_reads_the_first_topic_of_the_transport_else_of_the_other(
        transport: str, graph: dict[str, str], launch: str, run: str) -> None:
    said = hint(graph, transport)
    assert said.startswith('no publisher; images are on ')
    assert said.endswith(f': `ros2 launch` with `{launch}`, or `ros2 run` with `--ros-args {run}`')


def test_one_of_several_cameras_is_remapped_alone() -> None:
    said = hint({'/usb/image': IMAGE}, name='front')
    assert said.endswith(': `ros2 run` with `--ros-args -r front/image_raw:=/usb/image`')


def test_many_topics_are_capped_and_odd_names_are_harmless() -> None:
    odd = {f'/odd{name}/image': IMAGE for name in ('\x1b[31m', '-bar', ' b', '\u202e', '')}
    said = hint({'/1cam/image': IMAGE, **odd, **{f'/cam{i:03}/image': IMAGE for i in range(300)}})
    assert '/cam004/' in said and ' and more: ' in said and '/cam005/' not in said
    assert said.isprintable() and len(said) < 900 and 'odd' not in said


def test_a_graph_without_end_costs_a_bounded_look(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    node: Any = SimpleNamespace(
        resolve_topic_name=lambda topic: f'/{topic}', create_publisher=lambda *_, **__: None,
        get_parameters_by_prefix=lambda _: {}, get_fully_qualified_name=lambda: '/me',
        get_publishers_info_by_topic=lambda topic: asked.append(topic) or [],
        get_topic_names_and_types=lambda: [(f'/t{i}', [IMAGE]) for i in range(5000)])
    topics = CameraTopics(node, '', 'raw', QOS)
    assert topics.silence_hint() == topics.silence_hint()
    assert len(asked) <= MAX_LOOKUPS + 1


def test_a_publisher_of_the_wrong_type_is_reported_with_where_images_are() -> None:
    said = hint({'/image_raw': COMPRESSED, '/cam/raw': IMAGE})
    assert said.startswith(f'they publish {COMPRESSED}, expected {IMAGE}; images are on /cam/raw: ')
    assert hint({'/image_raw': COMPRESSED}).endswith('; no topic here has images that this node can read')
