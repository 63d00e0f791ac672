# SPDX-License-Identifier: Apache-2.0
"""A slow inference, and one that never returns: it is reported, and the node recovers or ends."""

from __future__ import annotations

import itertools
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from driving import ERROR, RED, WARN, Driver, plain
from replaying import ROOT, node_arguments, process, wait_for
from vision_msgs.msg import Classification

CONFIGURE, CLEANUP, ACTIVATE, DEACTIVATE = 1, 2, 3, 4
CALLS = 100
STUCK_NODE = str(ROOT / 'test' / 'helpers' / 'stuck_node.py')


@contextmanager
def stuck_node(drive: Driver, log: Path, how: str,
               **parameters: Any) -> Iterator[tuple[subprocess.Popen[bytes], Any]]:
    """An active node with a frame that `stuck_node.py` slows down or hangs, and the camera."""
    _, _, *ros_arguments = node_arguments(parameters)
    with process([STUCK_NODE, *ros_arguments], log) as node:
        camera = drive.camera()
        drive.status_when('camera', lambda s: True, 'the node to be active')
        camera.publish(plain(RED, frame_id=how))
        yield node, camera


def assert_ends(node: subprocess.Popen[bytes], log: Path, status: int,
                by: signal.Signals | None = None) -> None:
    """With this status and in order. Python that ends while a thread is in onnxruntime's C++ aborts: -6."""
    if by:
        node.send_signal(by)
    assert node.wait(20.0) == status, log.read_text()
    assert 'Traceback' not in log.read_text() and 'terminate called' not in log.read_text()


def test_a_stall_is_reported_and_services_respond(drive, model, tmp_path, capsys):
    """D13: services respond during an inference."""
    log = tmp_path / 'node.log'
    with stuck_node(drive, log, 'wait', model=model, stall_s=1.0, timeout_s=0.0) as (node, camera):
        for part in ('node', 'camera'):
            drive.status_when(part, lambda s: s.level == ERROR, 'the error')
            stalled = [s for s in drive.statuses(part) if 'processed for' in s.message]
            assert [level for level, _ in itertools.groupby(stalled, lambda s: s.level)] == [WARN, ERROR]
            assert all('stall_s 1 s' in s.message and float(s.values['processing_s']) > s.level / 2
                       for s in stalled)
        wait_for(lambda: '[ERROR]' in log.read_text(), 'the error')
        camera.publish(plain(RED))
        drive.status_when('camera', lambda s: s.count('in_flight') == 2, 'one more, which waits')
        took = []
        for _ in range(CALLS):
            began = time.monotonic()
            assert drive.state() == 'active'
            took.append(time.monotonic() - began)
        with capsys.disabled():
            print(f'\nget_state while stalled: p50 {sorted(took)[CALLS // 2] * 1e3:.1f} ms, '
                  f'p99 {sorted(took)[-2] * 1e3:.1f} ms, max {max(took) * 1e3:.1f} ms')
        assert 'the stalled frame has ended' not in log.read_text()
        assert max(took) < 1.0, '50 ms are promised, but the machine may be busy; the stall has no end'
        assert_ends(node, log, 0, signal.SIGTERM)


def test_cleanup_and_configure_recover_and_the_process_still_ends_in_order(drive, model, tmp_path):
    log = tmp_path / 'node.log'
    with stuck_node(drive, log, 'run', model=model, stall_s=0.5) as (node, camera):
        drive.status_when('node', lambda s: s.level == ERROR, 'the stall')
        assert drive.change(DEACTIVATE)
        assert not drive.change(ACTIVATE), 'it would wait for the stuck one'
        status = drive.status_when('node', lambda s: 'activate failed' in s.message, 'the reason')
        assert 'clean up and configure' in status.message
        for transition in (CLEANUP, CONFIGURE, ACTIVATE):
            assert drive.change(transition), log.read_text()
        heard = drive.hear(Classification, '/shufflenet/classification')
        wait_for(lambda: camera.publish(plain(RED)) or heard, 'a result beside the stuck inference')
        status = drive.status_when('node', lambda s: s.count('abandoned_inferences') == 1, 'the old one')
        assert status.level == WARN and 'abandoned inferences: 1' in status.message
        assert_ends(node, log, 0, signal.SIGINT)


@pytest.mark.parametrize(('seconds', 'number'), [(0.5, signal.SIGINT), (1.1, signal.SIGTERM)])
def test_a_signal_gives_a_slow_inference_one_second(drive, model, tmp_path, seconds, number):
    """D6: from its start. After 1.1 s it ends while the process shuts down."""
    log = tmp_path / 'node.log'
    with stuck_node(drive, log, str(seconds), model=model) as (node, _):
        wait_for(lambda: 'a slow frame' in log.read_text(), 'the inference')
        assert_ends(node, log, 0, number)
    assert ('took longer than 1 s; its result will not be published' in log.read_text()) == (seconds > 1.0)


def test_stall_exit_s_ends_the_process_for_respawn(drive, model, tmp_path):
    log = tmp_path / 'node.log'
    with stuck_node(drive, log, 'run', model=model, stall_exit_s=1.0) as (node, _):
        assert_ends(node, log, 70)
    assert '[FATAL]' in log.read_text()
    assert 'stall_exit_s is 1: the process ends with status 70' in log.read_text()
