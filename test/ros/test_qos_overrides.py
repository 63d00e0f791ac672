# SPDX-License-Identifier: Apache-2.0
"""qos_overrides.* are applied to the topics that they name, and are validated as other parameters are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from in_process import unspun_node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, HistoryPolicy, ReliabilityPolicy
from replaying import wait_for

from shufflenet_ros.ros.cameras import Camera
from shufflenet_ros.ros.node import FAILURE, SUCCESS, ClassifyNode

IMAGE = 'qos_overrides./image_raw.subscription'
RESULT = 'qos_overrides./shufflenet/classification.publisher'


@pytest.fixture
def started(context, model) -> Iterator[Callable[..., ClassifyNode]]:
    """Makes nodes with these parameters and ROS arguments."""
    with ExitStack() as stack:
        yield lambda parameters, *ros_arguments: stack.enter_context(
            unspun_node(context, *ros_arguments, model=model, **parameters))


def set_to(node: ClassifyNode, name: str, value: Any) -> Any:
    return node.set_parameters_atomically([Parameter(name, value=value)])


def activate(node: ClassifyNode) -> Camera:
    """The only camera, subscribed."""
    assert node.trigger_configure() == SUCCESS and node.trigger_activate() == SUCCESS, node.failure
    camera, = node._cameras.values()
    return camera


def deactivate(node: ClassifyNode) -> None:
    assert node.trigger_deactivate() == SUCCESS and node.trigger_cleanup() == SUCCESS


def test_each_policy_reaches_its_own_topic(started):
    node = started({
        f'{IMAGE}.reliability': 'reliable', f'{IMAGE}.durability': 'transient_local', f'{IMAGE}.depth': 3,
        f'{RESULT}.reliability': 'best_effort', f'{RESULT}.history': 'keep_all', f'{RESULT}.depth': 77})
    camera = activate(node)
    assert camera.requested_qos == 'RELIABLE TRANSIENT_LOCAL depth 3'
    result = camera.classification.qos_profile
    assert (result.history, result.depth) == (HistoryPolicy.KEEP_ALL, 77)
    assert camera.embedding.qos_profile.depth == camera.debug_image.qos_profile.depth == 10

    # What DDS offers and requests, not only what the node believes.
    offered = wait_for(lambda: node.get_publishers_info_by_topic('/shufflenet/classification'), 'it')[0]
    requested = wait_for(lambda: node.get_subscriptions_info_by_topic('/image_raw'), 'it')[0]
    assert offered.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT
    assert requested.qos_profile.reliability == ReliabilityPolicy.RELIABLE
    assert requested.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL


def test_the_documented_example_works(started, repo_root, tmp_path, capfd):
    section = (repo_root / 'docs' / 'node.md').read_text().split('### QoS overrides')[1]
    path = tmp_path / 'example.yaml'
    path.write_text(section.split('```yaml\n')[1].split('```')[0])
    camera = activate(started({}, '--params-file', str(path), '-r', 'image_raw:=/camera/image_raw'))
    assert camera.requested_qos == 'RELIABLE VOLATILE depth 5'
    assert camera.classification.qos_profile.depth == 100
    assert 'ignored' not in capfd.readouterr().err


def test_the_next_configure_applies_what_was_set_meanwhile(started):
    """Nothing is declared twice, and a policy without override follows image_qos."""
    node = started({f'{IMAGE}.depth': 3})
    assert activate(node).requested_qos == 'BEST_EFFORT VOLATILE depth 3'
    result = set_to(node, f'{IMAGE}.depth', 4)
    assert not result.successful and 'no change while the node is active' in result.reason
    deactivate(node)
    assert set_to(node, f'{IMAGE}.depth', 4).successful
    assert set_to(node, 'image_qos.reliability', 'reliable').successful
    result = set_to(node, f'{IMAGE}.durability', 'volatile')
    assert not result.successful and 'restart the node' in result.reason, 'it was not given at start'
    for _ in range(2):
        assert activate(node).requested_qos == 'RELIABLE VOLATILE depth 4'
        deactivate(node)


@pytest.mark.parametrize(('policy', 'wrong', 'expected', 'good'), [
    ('reliability', 'relaible', 'expected best_effort or reliable', 'reliable'),
    ('reliability', True, 'expected best_effort or reliable', 'best_effort'),
    ('durability', 'RELIABLE', 'expected volatile or transient_local', 'volatile'),
    ('history', 'keep', 'expected keep_last or keep_all', 'keep_last'),
    ('depth', 0, 'expected an integer in [1, 1000]', 1),
    ('depth', 'ten', 'expected an integer in [1, 1000]', 10),
])
def test_a_wrong_value_is_reported_and_can_be_corrected(started, policy, wrong, expected, good):
    name = f'{IMAGE}.{policy}'
    node = started({name: wrong})
    assert node.trigger_configure() == FAILURE
    assert f'parameter {name}: got {wrong!r}' in node.failure and expected in node.failure
    result = set_to(node, name, wrong)
    assert not result.successful and result.reason in node.failure, 'the same error at run time'
    assert set_to(node, name, good).successful
    assert activate(node)


def test_overrides_for_no_topic_of_the_node_are_reported(started, capfd):
    names = ('qos_overrides./image_rwa.subscription.depth', 'qos_overrides./image_raw.publisher.depth',
             'qos_overrides./shufflenet/label_info.publisher.depth')
    activate(started(dict.fromkeys(names, 5)))
    logged = capfd.readouterr().err.splitlines()
    for name in names:
        line, = [line for line in logged if name in line]
        assert '[WARN]' in line and 'ignored' in line and '/image_raw.subscription, ' in line


def test_invalid_names_are_reported(started, capfd):
    names = [f'{IMAGE}.deadline', 'qos_overrides.image_raw.subscription.depth',
             'qos_overrides./image_raw.depth', 'qos_overrides./a.b.subscription.depth']
    node = started(dict.fromkeys(names, 5))
    assert sorted(node.unknown_at_start) == sorted(names)
    logged = capfd.readouterr().err
    assert all(name in logged and not node.has_parameter(name) for name in names)
    assert activate(node)
