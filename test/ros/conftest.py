# SPDX-License-Identifier: Apache-2.0
"""What the ROS tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

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
