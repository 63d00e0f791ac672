"""Keep glibc from giving every received image back to the kernel.

rclpy builds each image message in fresh memory, several blocks of its size. glibc returns blocks that
large when they are let go, so that every frame pays thousands of page faults: more CPU than the model
takes. `python -m benchmarks.receive` measures it with and without.
"""

import ctypes
import os

ENVIRONMENT = 'SHUFFLENET_ROS_MALLOPT'
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_MMAP_THRESHOLD_BYTES = 64 << 20
_TRIM_THRESHOLD_BYTES = 256 << 20


def keep_large_blocks() -> bool:
    """Serve blocks up to 64 MiB from the heap and keep 256 MiB of it; call before threads start.

    Only on glibc, and not where SHUFFLENET_ROS_MALLOPT=0 is set. Returns whether it took effect.
    """
    if os.environ.get(ENVIRONMENT, '1') == '0':
        return False
    try:
        libc = ctypes.CDLL(None)
    except OSError:
        return False
    if not hasattr(libc, 'gnu_get_libc_version'):  # musl has a mallopt too, which does nothing
        return False
    settings = {_M_MMAP_THRESHOLD: _MMAP_THRESHOLD_BYTES, _M_TRIM_THRESHOLD: _TRIM_THRESHOLD_BYTES}
    return all(libc.mallopt(option, value) == 1 for option, value in settings.items())
