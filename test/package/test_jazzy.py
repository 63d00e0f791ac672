"""The node and replay on ROS 2 Jazzy: the ROS room's own tests, run on Jazzy's rclpy."""

from __future__ import annotations

import platform
import subprocess

import environments
import pytest
from shell import clean_environment


@pytest.mark.skipif(platform.machine() != 'x86_64', reason='pip has Jazzy for x86_64 only')
def test_ros_room_passes_on_jazzy(repo_root, shared_data):
    venv = environments.jazzy_environment()
    rclpy = subprocess.run(
        [venv / 'bin/python', '-c', 'from importlib.metadata import version; print(version("ros-rclpy"))'],
        env=clean_environment(), text=True, capture_output=True, check=True).stdout
    assert rclpy.startswith('7.1.')
    done = subprocess.run([venv / 'bin/python', '-m', 'pytest', '-q', 'test/ros'], env=clean_environment(),
                          cwd=repo_root, text=True, capture_output=True, check=False)
    print(done.stdout.splitlines()[-1] if done.stdout else done.stderr)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
