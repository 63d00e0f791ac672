# SPDX-License-Identifier: Apache-2.0
"""Reports to systemd: that the process is ready, what it does, and that it is alive (sd_notify)."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

LOADING_S = 180


def notify(*lines: str) -> None:
    """Send lines such as READY=1 to the socket in NOTIFY_SOCKET; without one, do nothing.

    It never waits and never fails: the service manager may be gone, or busy.
    """
    address = os.environ.get('NOTIFY_SOCKET')
    if not address:
        return
    if address.startswith('@'):  # a socket without a file
        address = '\0' + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
            out.sendto('\n'.join(lines).encode(), socket.MSG_DONTWAIT, address)
    except OSError:
        pass


@contextmanager
def patient_watchdog() -> Iterator[None]:
    """Within it, the process may be silent for LOADING_S: it can't report while it loads a model."""
    usual = os.environ.get('WATCHDOG_USEC')
    if usual:
        notify(f'WATCHDOG_USEC={LOADING_S}000000')
    try:
        yield
    finally:
        if usual:
            notify(f'WATCHDOG_USEC={usual}', 'WATCHDOG=1')
