# SPDX-License-Identifier: Apache-2.0
"""The node on ROS 2 Jazzy: the ROS tests that depend most on rclpy's version; `make test-full` runs all."""

from __future__ import annotations

import os
import subprocess

import environments
import pytest
from shell import clean_environment, run

FILES = ('test_callbacks.py', 'test_node_results.py', 'test_transitions.py')
if os.environ.get('SHUFFLENET_TEST_FULL'):
    FILES = ('',)


@pytest.mark.skipif(not environments.WHEELS_EXIST, reason='pip has ROS for x86_64 only')
def test_the_node_passes_on_jazzy(repo_root, shared_data):
    python = environments.jazzy_environment() / 'bin/python'
    version = run([python, '-c', 'from importlib.metadata import version; print(version("ros-rclpy"))'])
    assert version.startswith('7.1.')
    done = subprocess.run([python, '-m', 'pytest', '-q', *(f'test/ros/{name}' for name in FILES)],
                          env=clean_environment(), cwd=repo_root, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
