# SPDX-License-Identifier: Apache-2.0
"""qos_overrides.* reach the topics that they name, and are checked as other parameters are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2')
pytest.importorskip('onnx', reason='needs the extra export')

from in_process import make_node
from rclpy.context import Context
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, HistoryPolicy, ReliabilityPolicy
from replaying import wait_for

from shufflenet_ros.ros.cameras import CameraTopics
from shufflenet_ros.ros.node import FAILURE, SUCCESS, ClassifyNode

IMAGE = 'qos_overrides./image_raw.subscription'
RESULT = 'qos_overrides./shufflenet/classification.publisher'


@pytest.fixture
def started(context: Context, model: Path) -> Iterator[Any]:
    """Makes nodes with these parameters."""
    nodes: list[ClassifyNode] = []

    def make(parameters: dict[str, Any]) -> ClassifyNode:
        nodes.append(make_node(context, model, **parameters))
        return nodes[-1]

    yield make
    for node in nodes:
        node.close(3.0)
        node.destroy_node()


def set_to(node: ClassifyNode, name: str, value: Any) -> Any:
    return node.set_parameters_atomically([Parameter(name, value=value)])


def activate(node: ClassifyNode) -> CameraTopics:
    """The topics of the only camera, subscribed."""
    assert node.trigger_configure() == SUCCESS and node.trigger_activate() == SUCCESS, node.failure
    camera, = node._cameras.values()
    return camera.topics


def deactivate(node: ClassifyNode) -> None:
    assert node.trigger_deactivate() == SUCCESS and node.trigger_cleanup() == SUCCESS


def test_each_policy_reaches_its_own_topic(started: Any) -> None:
    node = started({
        f'{IMAGE}.reliability': 'reliable', f'{IMAGE}.durability': 'transient_local', f'{IMAGE}.depth': 3,
        f'{RESULT}.reliability': 'best_effort', f'{RESULT}.history': 'keep_all', f'{RESULT}.depth': 77})
    topics = activate(node)
    assert topics.requested_qos == 'RELIABLE TRANSIENT_LOCAL depth 3'
    result = topics.classification.qos_profile
    assert (result.history, result.depth) == (HistoryPolicy.KEEP_ALL, 77)
    assert topics.embedding.qos_profile.depth == topics.debug_image.qos_profile.depth == 10

    # What DDS offers and asks for, not only what the node believes.
    offered = wait_for(lambda: node.get_publishers_info_by_topic('/shufflenet/classification'), 'it')[0]
    asked = wait_for(lambda: node.get_subscriptions_info_by_topic('/image_raw'), 'it')[0]
    assert offered.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT
    assert asked.qos_profile.reliability == ReliabilityPolicy.RELIABLE
    assert asked.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL


def test_the_documented_example_works(context: Context, model: Path, repo_root: Path, tmp_path: Path,
                                      capfd: pytest.CaptureFixture[str]) -> None:
    section = (repo_root / 'docs' / 'node.md').read_text().split('### QoS overrides')[1]
    path = tmp_path / 'example.yaml'
    path.write_text(section.split('```yaml\n')[1].split('```')[0])
    words = ['--params-file', str(path), '-p', f'model:={model}', '-r', 'image_raw:=/camera/image_raw']
    node = ClassifyNode(context=context, use_global_arguments=False, cli_args=['--ros-args', *words])
    try:
        topics = activate(node)
        assert topics.requested_qos == 'RELIABLE VOLATILE depth 5'
        assert topics.classification.qos_profile.depth == 100
        assert 'ignored' not in capfd.readouterr().err
    finally:
        node.close(3.0)
        node.destroy_node()


def test_configured_again_it_uses_what_was_set_meanwhile(started: Any) -> None:
    """Nothing is declared twice, and a policy without override follows image_qos."""
    node = started({f'{IMAGE}.depth': 3})
    assert activate(node).requested_qos == 'BEST_EFFORT VOLATILE depth 3'
    verdict = set_to(node, f'{IMAGE}.depth', 4)
    assert not verdict.successful and 'no change while the node is active' in verdict.reason
    deactivate(node)
    assert set_to(node, f'{IMAGE}.depth', 4).successful
    assert set_to(node, 'image_qos.reliability', 'reliable').successful
    assert activate(node).requested_qos == 'RELIABLE VOLATILE depth 4'
    deactivate(node)
    assert activate(node).requested_qos == 'RELIABLE VOLATILE depth 4'


@pytest.mark.parametrize(('policy', 'wrong', 'expected', 'good'), [
    ('reliability', 'relaible', 'expected best_effort or reliable', 'reliable'),
    ('reliability', True, 'expected best_effort or reliable', 'best_effort'),
    ('durability', 'RELIABLE', 'expected volatile or transient_local', 'volatile'),
    ('history', 'keep', 'expected keep_last or keep_all', 'keep_last'),
    ('depth', 0, 'expected an integer in [1, 1000]', 1),
    ('depth', 'ten', 'expected an integer in [1, 1000]', 10),
])
def test_a_wrong_value_is_named_and_can_be_set_right(started: Any, policy: str, wrong: Any, expected: str,
                                                     good: Any) -> None:
    name = f'{IMAGE}.{policy}'
    node = started({name: wrong})
    assert node.trigger_configure() == FAILURE
    assert f'parameter {name}: got {wrong!r}' in node.failure and expected in node.failure
    verdict = set_to(node, name, wrong)
    assert not verdict.successful and verdict.reason in node.failure, 'the same verdict at run time'
    assert set_to(node, name, good).successful
    assert activate(node)


@pytest.mark.parametrize('name', ['qos_overrides./image_rwa.subscription.depth',
                                  'qos_overrides./image_raw.publisher.depth',
                                  'qos_overrides./shufflenet/label_info.publisher.depth'])
def test_one_for_no_topic_of_the_node_is_reported(started: Any, capfd: pytest.CaptureFixture[str],
                                              name: str) -> None:
    activate(started({name: 5}))
    line, = [line for line in capfd.readouterr().err.splitlines() if name in line]
    assert '[WARN]' in line and 'ignored' in line and '/image_raw.subscription, ' in line


@pytest.mark.parametrize('name', [f'{IMAGE}.deadline', 'qos_overrides.image_raw.subscription.depth',
                                  'qos_overrides./image_raw.depth', 'qos_overrides./a.b.subscription.depth'])
def test_an_invalid_one_is_reported(started: Any, capfd: pytest.CaptureFixture[str], name: str) -> None:
    node = started({name: 5})
    assert node.unknown_at_start == [name] and not node.has_parameter(name)
    assert name in capfd.readouterr().err
    assert activate(node)


def test_one_that_was_not_there_at_start_is_rejected(started: Any) -> None:
    node = started({})
    verdict = set_to(node, f'{IMAGE}.depth', 4)
    assert not verdict.successful and 'restart the node' in verdict.reason
