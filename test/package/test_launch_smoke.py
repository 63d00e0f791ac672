# SPDX-License-Identifier: Apache-2.0
"""What CI checks of `ros2 launch` in ROS images. Here it starts the node alone: pip has no launch."""

from __future__ import annotations

import os
import sys

import pytest

pytest.importorskip('rclpy', reason='needs rclpy (make setup)')

from launch_smoke import SmokeError, smoke

NODE = (sys.executable, '-m', 'shufflenet_ros.ros.main', '--ros-args', '-p', 'autostart:=true', '-p')


@pytest.fixture(autouse=True)
def own_domain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('ROS_DOMAIN_ID', os.environ.get('ROS_DOMAIN_ID') or str(1 + os.getpid() % 100))
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')


def test_a_result_comes_and_the_node_stops():
    assert smoke([*NODE, 'top_k:=1'])


@pytest.mark.parametrize(('command', 'message'), [
    (['false'], 'ended with status 1 before any result'),
    (['sleep', '60'], r'no message on /shufflenet/classification within 1 s'),
])
def test_a_failure_is_named(command, message):
    with pytest.raises(SmokeError, match=message):
        smoke(command, timeout_s=1.0)


def test_a_result_without_labels_is_an_error():
    with pytest.raises(SmokeError, match='no labels'):
        smoke([*NODE, 'min_score:=1.0'])
