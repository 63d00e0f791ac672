# SPDX-License-Identifier: Apache-2.0
"""Keeps glibc from returning the memory of every received image to the kernel.

rclpy builds each image message in several new blocks of the image's size. glibc returns blocks that large to
the kernel when they are freed, so every frame costs thousands of page faults: more CPU than the model.
`python -m benchmarks.receive` measures it with and without.
"""

import ctypes
import os

ENVIRONMENT = 'SHUFFLENET_ROS_MALLOPT'
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_MMAP_THRESHOLD_BYTES = 64 << 20
_TRIM_THRESHOLD_BYTES = 256 << 20


def keep_large_blocks() -> bool:
    """Allocate blocks up to 64 MiB from the heap and keep 256 MiB of it; call before threads start.

    Only on glibc, and not with SHUFFLENET_ROS_MALLOPT=0. Returns whether it took effect.
    """
    if os.environ.get(ENVIRONMENT, '1') == '0':
        return False
    try:
        libc = ctypes.CDLL(None)
    except OSError:
        return False
    if not hasattr(libc, 'gnu_get_libc_version'):  # musl's mallopt does nothing
        return False
    settings = {_M_MMAP_THRESHOLD: _MMAP_THRESHOLD_BYTES, _M_TRIM_THRESHOLD: _TRIM_THRESHOLD_BYTES}
    return all(libc.mallopt(option, value) == 1 for option, value in settings.items())
