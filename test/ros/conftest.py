# SPDX-License-Identifier: Apache-2.0
"""What the ROS tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope='module')
def own_domain(repo_root: Path) -> Iterator[None]:
    """A DDS domain of its own on this machine only, with room for large images in shared memory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('ROS_DOMAIN_ID', os.environ.get('ROS_DOMAIN_ID') or str(1 + os.getpid() % 100))
        patch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
        # Fast DDS 3 reads the first, Fast DDS 2 the second.
        for variable in ('FASTDDS_DEFAULT_PROFILES_FILE', 'FASTRTPS_DEFAULT_PROFILES_FILE'):
            patch.setenv(variable, str(repo_root / 'config' / 'fastdds_large_images.xml'))
        yield


@pytest.fixture(scope='module')
def context(own_domain: None) -> Iterator[Any]:
    """An rclpy context for nodes in this process."""
    from in_process import ros_context
    with ros_context() as made:
        yield made


@pytest.fixture(scope='module')
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny bundle."""
    from tiny_bundle import tiny_bundle
    return tiny_bundle(tmp_path_factory.mktemp('bundle') / 'tiny.onnx')


@pytest.fixture(scope='module')
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The tiny bundle in a trusted folder, which loads faster."""
    from in_process import trusted_bundle
    with trusted_bundle(tmp_path_factory.mktemp('cache')) as path:
        yield path


@pytest.fixture
def drive(own_domain: None) -> Iterator[Any]:
    """A driver of the node /shufflenet, which the test starts."""
    from driving import driver
    with driver() as made:
        yield made


@pytest.fixture
def listener(own_domain: None) -> Iterator[Any]:
    """A subscriber in this process."""
    from replaying import Listener
    made = Listener()
    yield made
    made.close()
