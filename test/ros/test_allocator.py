# SPDX-License-Identifier: Apache-2.0
"""The allocator settings: they take effect on glibc, can be turned off, and other systems do without."""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys
from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from shufflenet_ros.ros.allocator import ENVIRONMENT, keep_large_blocks

# Page faults of allocating and freeing four 3 MB blocks 100 times. By default glibc returns free memory at
# the end of the heap to the kernel if it is more than twice the largest block so far.
FAULTS = """
import resource, sys
from shufflenet_ros.ros.allocator import keep_large_blocks
kept = keep_large_blocks()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(100):
    blocks = [bytearray(3 << 20) for _ in range(4)]
    del blocks
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='needs glibc')
def test_large_blocks_are_kept_unless_turned_off(repo_root, monkeypatch):
    faults = {}
    for setting in ('0', '1'):
        monkeypatch.setenv(ENVIRONMENT, setting)
        done = subprocess.run([sys.executable, '-c', FAULTS], cwd=repo_root, capture_output=True, text=True,
                              check=True)
        kept, number = done.stdout.split()
        assert kept == str(setting == '1')
        faults[setting] = int(number)
    pages = 400 * (3 << 20) // 4096
    print(f'page faults of 400 blocks of 3 MB: {faults["0"]} without, {faults["1"]} with the settings')
    assert faults['0'] > pages / 2 > 10 * faults['1']


@pytest.mark.parametrize('library', [SimpleNamespace(), None])
def test_other_libraries_are_left_alone(monkeypatch, library):
    """A musl without gnu_get_libc_version, and no C library that can be loaded."""
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    monkeypatch.setattr(ctypes, 'CDLL', Mock(return_value=library, side_effect=None if library else OSError))
    assert keep_large_blocks() is False
