# SPDX-License-Identifier: Apache-2.0
"""The node on ROS 2 Jazzy: the ROS tests that depend most on rclpy's version."""

from __future__ import annotations

import subprocess

import environments
import pytest
from shell import clean_environment

# `make test-jazzy` runs all of them.
FILES = ('test_callbacks.py', 'test_node_results.py', 'test_node_hostile.py', 'test_transitions.py')


@pytest.mark.skipif(not environments.WHEELS_EXIST, reason='pip has ROS for x86_64 only')
def test_the_node_passes_on_jazzy(repo_root, shared_data):
    venv = environments.jazzy_environment()
    rclpy = subprocess.run(
        [venv / 'bin/python', '-c', 'from importlib.metadata import version; print(version("ros-rclpy"))'],
        env=clean_environment(), text=True, capture_output=True, check=True).stdout
    assert rclpy.startswith('7.1.')
    tests = [f'test/ros/{name}' for name in FILES]
    done = subprocess.run([venv / 'bin/python', '-m', 'pytest', '-q', *tests], env=clean_environment(),
                          cwd=repo_root, text=True, capture_output=True, check=False)
    print(done.stdout.splitlines()[-1] if done.stdout else done.stderr)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
