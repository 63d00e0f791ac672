# SPDX-License-Identifier: Apache-2.0
"""What the node tells systemd: ready, alive, stalled, stopping. A socket stands for the service manager."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from driving import RED, plain
from replaying import ROOT, node_arguments, process, wait_for
from vision_msgs.msg import Classification

from shufflenet_ros.core.service_manager import LOADING_S, notify

STUCK_NODE = str(ROOT / 'test' / 'helpers' / 'stuck_node.py')
ALIVE = 'WATCHDOG=1'


class Manager:
    """Receives datagrams; `lines` grows with every line of them."""

    def __init__(self, address: str) -> None:
        self.lines: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address.replace('@', '\0', 1))
        threading.Thread(target=self._receive, daemon=True).start()

    def _receive(self) -> None:
        while data := self._socket.recv(4096):
            self.lines += data.decode().split('\n')

    def wait(self, part: str, after: int = 0) -> int:
        """The index of the first line from `after` on that has this part."""
        def found() -> list[int]:
            return [i for i, line in enumerate(self.lines) if i >= after and part in line]
        try:
            return int(wait_for(found, part)[0])
        except AssertionError as error:
            raise AssertionError(f'{error}; got {self.lines}') from None


@contextmanager
def supervised(log: Path, manager: str, **parameters: object) -> Iterator[Manager]:
    """The node that can get stuck, under a service manager; its end is checked."""
    made = Manager(manager)
    _, _, *arguments = node_arguments(parameters)
    variables = os.environ | {'NOTIFY_SOCKET': manager, 'WATCHDOG_USEC': '10000000'}
    with process([STUCK_NODE, *arguments], log, env=variables) as node:
        yield made
        node.send_signal(signal.SIGINT)
        assert node.wait(20.0) == 0, log.read_text()
    made.wait('STOPPING=1')


def test_a_stalled_frame_stops_the_pings_until_it_ends(drive, model, tmp_path):
    with supervised(tmp_path / 'node.log', f'@shufflenet-test-{os.getpid()}', model=model,
                    stall_s=0.3) as manager:
        ready = manager.wait('READY=1')
        loading = manager.lines[:ready]
        assert loading == [f'WATCHDOG_USEC={LOADING_S}000000', 'WATCHDOG_USEC=10000000', ALIVE]
        active = manager.wait('STATUS=active', ready)
        manager.wait(ALIVE, active + 1)
        camera, heard = drive.camera(), drive.hear(Classification, '/shufflenet/classification')
        wait_for(lambda: camera.publish(plain(RED)) or heard, 'a result')  # the first frames can get lost
        camera.publish(plain(RED, frame_id='1.5'))
        stalled = manager.wait('STATUS=active, a frame takes longer than stall_s')
        recovered = manager.wait('STATUS=active', stalled + 1)
        assert manager.lines[stalled + 1:recovered] == [ALIVE], 'it comes with the status after it'
        manager.wait(ALIVE, recovered + 1)
        # Without a limit, only a dead loop would stop them.
        drive.set(stall_s=0.0)
        camera.publish(plain(RED, frame_id='wait'))
        drive.status_when('node', lambda s: float(s.values['processing_s']) > 1.0, 'the stuck frame')
        manager.wait(ALIVE, len(manager.lines))
        assert 'STATUS=active, a frame' not in ''.join(manager.lines[recovered:])


def test_a_node_that_cannot_configure_is_up_and_says_why(own_domain, tmp_path):
    with supervised(tmp_path / 'node.log', str(tmp_path / 'notify'), model='/nowhere.onnx') as manager:
        ready = manager.wait('READY=1')
        manager.wait('STATUS=unconfigured: configure failed: /nowhere.onnx', ready)
        manager.wait(ALIVE, ready)


@pytest.mark.parametrize('address', ['', '/nowhere/notify', '/dev/null'])
def test_without_a_service_manager_nothing_happens(monkeypatch, address):
    monkeypatch.setenv('NOTIFY_SOCKET', address)
    notify('READY=1')
    monkeypatch.delenv('NOTIFY_SOCKET')
    monkeypatch.setattr(socket, 'socket', None)
    notify('READY=1')
