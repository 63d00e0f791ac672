# SPDX-License-Identifier: Apache-2.0
"""An inference that never returns: it is reported, and the node recovers or ends for a respawn."""

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

pytest.importorskip('rclpy', reason='needs ROS 2')
pytest.importorskip('onnx', reason='needs the extra export')

from driving import RED, Driver, plain, ros_arguments
from replaying import ROOT, process, wait_for
from vision_msgs.msg import Classification

WARN, ERROR = 1, 2
CONFIGURE, CLEANUP, ACTIVATE, DEACTIVATE = 1, 2, 3, 4
CALLS = 100
STUCK_NODE = str(ROOT / 'test' / 'helpers' / 'stuck_node.py')


@contextmanager
def stuck_node(drive: Driver, log: Path, how: str,
               **parameters: Any) -> Iterator[tuple[subprocess.Popen[bytes], Any]]:
    """An active node that has a frame which never ends, and its camera."""
    words = ros_arguments({'autostart': True} | parameters)
    with process([STUCK_NODE, *words[words.index('--ros-args'):]], log) as node:
        camera = drive.camera()
        drive.status_when('camera', lambda s: True, 'the node to be active')
        camera.publish(plain(RED, frame_id=how))
        yield node, camera


def test_a_stall_is_shown_and_services_answer_on(drive: Driver, model: Path, tmp_path: Path,
                                                 capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / 'node.log'
    parameters = {'model': model, 'stall_s': 2.0, 'timeout_s': 0.0}
    with stuck_node(drive, log, 'wait', **parameters) as (node, camera):
        for part in ('node', 'camera'):
            drive.status_when(part, lambda s: s.level == ERROR, 'the error')
            stalled = [s for s in drive.statuses(part) if 'processed for' in s.message]
            assert [level for level, _ in itertools.groupby(stalled, lambda s: s.level)] == [WARN, ERROR]
            assert all('stall_s 2 s' in s.message and float(s.values['processing_s']) > s.level
                       for s in stalled)
        wait_for(lambda: '[ERROR]' in log.read_text(), 'the error')
        camera.publish(plain(RED))
        drive.status_when('camera', lambda s: s.count('in_flight') == 2, 'one more, that waits')
        took = []
        for _ in range(CALLS):
            began = time.monotonic()
            assert drive.state() == 'active'
            took.append(time.monotonic() - began)
        with capsys.disabled():
            print(f'\nget_state while stalled: p50 {sorted(took)[CALLS // 2] * 1e3:.1f} ms, '
                  f'p99 {sorted(took)[-2] * 1e3:.1f} ms, max {max(took) * 1e3:.1f} ms')
        assert max(took) < 1.0, 'a promise of 50 ms, and what a busy machine adds; the stall has no end'
        assert 'Traceback' not in log.read_text()
        node.send_signal(signal.SIGTERM)
        assert node.wait(20.0) == 0, log.read_text()


def test_cleanup_and_configure_cure_it_and_the_process_still_ends_well(
        drive: Driver, model: Path, tmp_path: Path) -> None:
    """Python that ends while a thread is in onnxruntime's C++ aborts: status -6, as it was."""
    log = tmp_path / 'node.log'
    with stuck_node(drive, log, 'run', model=model, stall_s=0.5) as (node, camera):
        drive.status_when('node', lambda s: s.level == ERROR, 'the stall')
        assert drive.change_state(DEACTIVATE)
        assert not drive.change_state(ACTIVATE), 'it would wait behind the stuck one'
        said = drive.status_when('node', lambda s: 'activate failed' in s.message, 'the reason')
        assert 'clean up and configure' in said.message
        for transition in (CLEANUP, CONFIGURE, ACTIVATE):
            assert drive.change_state(transition), log.read_text()
        heard = drive.hear(Classification, '/shufflenet/classification')
        drive.wait_for_publisher('/shufflenet/classification')

        def answered() -> bool:
            camera.publish(plain(RED))
            return bool(heard)
        wait_for(answered, 'a result beside the stuck inference')
        said = drive.status_when('node', lambda s: s.count('abandoned_inferences') == 1, 'the abandoned one')
        assert said.level == WARN and 'abandoned inferences: 1' in said.message
        node.send_signal(signal.SIGINT)
        assert node.wait(20.0) == 0, log.read_text()
    assert 'Traceback' not in log.read_text() and 'terminate called' not in log.read_text()


def test_stall_exit_s_ends_the_process_for_respawn(drive: Driver, model: Path, tmp_path: Path) -> None:
    log = tmp_path / 'node.log'
    with stuck_node(drive, log, 'run', model=model, stall_exit_s=1.0) as (node, _):
        assert node.wait(20.0) == 70, log.read_text()
    text = log.read_text()
    assert '[FATAL]' in text and 'stall_exit_s is 1: the process ends with status 70' in text
    assert 'Traceback' not in text and 'terminate called' not in text
