# SPDX-License-Identifier: Apache-2.0
"""The stand-ins of vision_msgs are the upstream types as far as DDS can tell."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile

import environments
import pytest
from message_wheel import message_wheel
from shell import CACHE

# As announced by the distributions' vision_msgs 4.1.1. A subscriber of another hash gets nothing.
UPSTREAM = {
    'Classification': 'RIHS01_f74db28d0eaef3afb78f48bf2161cd709a1383a0309d3454383b25be11345143',
    'LabelInfo': 'RIHS01_3d37df4015cdf660cc851c51897f2acd957e1ca6205ba0a99aebffb9406b0783',
    'ObjectHypothesis': 'RIHS01_51da43cec11c01957a64d1e05a24acd18aae7745ec30b74348ad5f6d634f7f90',
    'VisionInfo': 'RIHS01_95d3116a17484ad91c9a2686e1d54890bbfc3ff6c6a2de137738c4950d45d284',
}

ANNOUNCE = """
import sys, time
import rclpy, vision_msgs.msg
rclpy.init()
node = rclpy.create_node('hashes')
publishers = [node.create_publisher(getattr(vision_msgs.msg, name), name, 1) for name in sys.argv[1:]]
for name in sys.argv[1:]:
    until = time.monotonic() + 20
    while not (found := node.get_publishers_info_by_topic(name)) and time.monotonic() < until:
        time.sleep(0.05)
    print(name, found[0].topic_type_hash)
rclpy.try_shutdown()
"""


def test_type_hashes_as_announced_on_the_graph():
    pytest.importorskip('rclpy', reason='needs rclpy (make setup)')
    pytest.importorskip('rclpy.type_hash', reason='Humble announces no type hashes')
    environ = {**os.environ, 'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'}
    done = subprocess.run([sys.executable, '-c', ANNOUNCE, *UPSTREAM], env=environ, text=True,
                          capture_output=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert dict(line.split() for line in done.stdout.splitlines()) == UPSTREAM


def test_embedding_has_the_fields_that_users_rely_on():
    messages = pytest.importorskip('shufflenet_ros_msgs.msg', reason='needs the messages (make setup)')
    assert messages.Embedding.get_fields_and_field_types() == {
        'header': 'std_msgs/Header', 'model': 'string', 'model_sha256': 'string', 'layer': 'string',
        'l2_normalized': 'boolean', 'data': 'sequence<float>',
    }


@pytest.mark.skipif(not environments.WHEELS_EXIST, reason='pip has ROS for x86_64 only')
def test_the_wheel_holds_both_packages_and_no_build_machine_paths():
    with zipfile.ZipFile(message_wheel('kilted')) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        shared_objects = [archive.read(name) for name in names if '.so' in name]
    assert {'shufflenet_ros_msgs/msg/__init__.py', 'vision_msgs/msg/__init__.py'} <= set(names)
    assert shared_objects
    assert not [data for data in shared_objects if str(CACHE).encode() in data]
