# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the ROS tests."""

from __future__ import annotations

import fcntl
import gc
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


class RosModule(pytest.Module):
    """A test module that is skipped without ROS 2, or without the extra `export`."""

    def collect(self) -> Any:
        pytest.importorskip('rclpy', reason='needs ROS 2')
        pytest.importorskip('onnx', reason='needs the extra export')
        return super().collect()


def pytest_pycollect_makemodule(module_path: Path, parent: Any) -> RosModule:
    """Collect every test module here as a RosModule."""
    return RosModule.from_parent(parent, path=module_path)


@pytest.fixture(scope='session')
def domain() -> Iterator[str]:
    """ROS_DOMAIN_ID, or else a DDS domain that no other run of these tests uses at the same time."""
    if given := os.environ.get('ROS_DOMAIN_ID'):
        yield given
        return
    for number in (1 + (os.getpid() + i) % 100 for i in range(100)):
        try:
            lock = os.open(Path(tempfile.gettempdir(), f'shufflenet_ros_domain_{number}.lock'), os.O_CREAT)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue
        yield str(number)
        os.close(lock)
        return
    pytest.fail('all DDS domains are in use by other runs')


@pytest.fixture(scope='module')
def own_domain(repo_root, domain) -> Iterator[None]:
    """The run's DDS domain, on this machine only, with shared-memory segments for large images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('ROS_DOMAIN_ID', domain)
        patch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
        # Fast DDS 3 reads the first, Fast DDS 2 the second.
        for variable in ('FASTDDS_DEFAULT_PROFILES_FILE', 'FASTRTPS_DEFAULT_PROFILES_FILE'):
            patch.setenv(variable, str(repo_root / 'config' / 'fastdds_large_images.xml'))
        yield
        # A destroyed node stays in the graph until Python collects it, and with LOCALHOST a participant only
        # finds the first 32 of its domain.
        gc.collect()


@pytest.fixture(scope='module')
def context(own_domain) -> Iterator[Any]:
    """An rclpy context for nodes in this process."""
    from in_process import ros_context
    with ros_context() as made:
        yield made


@pytest.fixture(scope='module')
def model(tmp_path_factory) -> Iterator[Path]:
    """The tiny bundle in a trusted folder, so that no child process verifies it first for a second."""
    from in_process import trusted_bundle
    with trusted_bundle(tmp_path_factory.mktemp('cache')) as path:
        yield path


@pytest.fixture
def drive(own_domain) -> Iterator[Any]:
    """A driver of the node /shufflenet, which the test starts."""
    from driving import driver
    with driver() as made:
        yield made


@pytest.fixture
def listener(own_domain) -> Iterator[Any]:
    """A subscriber in this process."""
    from replaying import Listener
    made = Listener()
    yield made
    made.close()
