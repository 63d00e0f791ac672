# SPDX-License-Identifier: Apache-2.0
"""The library of the current sources, for this machine and for ARM."""

from pathlib import Path

import pytest

from shufflenet_ros.backends.native import VARIABLE


@pytest.fixture(scope='session', autouse=True)
def library(native_library):
    """What native_context.Context loads."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, str(native_library))
        yield


@pytest.fixture(scope='session')
def driver(arm_tools) -> Path:
    """The program that runs a blob on emulated ARM cores."""
    from benchmarks.arm.native_count import driver
    return driver()
