# SPDX-License-Identifier: Apache-2.0
"""The process: how it ends (D6), what it says of a wrong model, how it comes back, what it costs idle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2')

from driving import RED, Driver, Stream, active_node, plain, ros_arguments
from onnx import helper, numpy_helper
from replaying import ROOT, process, wait_for
from tiny_bundle import tiny_bundle
from vision_msgs.msg import Classification

from shufflenet_ros.backends.load import load
from shufflenet_ros.bundles.index import write_index
from shufflenet_ros.bundles.onnx_write import save_bundle

EXIT_S = 5.0  # promised are 2 s; a loaded machine gets some more
SIDE, PRODUCTS = 1200, 24  # of the slow model: some seconds on one core
IDLE_S = 6.0
EARLY, EARLY_S = 5, 0.15  # starts, and the latest moment of a signal in them
SIGNALS = (signal.SIGINT, signal.SIGTERM)


@pytest.fixture(scope='module')
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a fast and a slow bundle. Its index is trusted, so nothing is proven at configure."""
    cache = tmp_path_factory.mktemp('cache')
    folder = cache / 'shufflenet_ros' / 'models'
    folder.mkdir(parents=True)
    slow_bundle(tiny_bundle(folder / 'tiny.onnx'), folder / 'slow.onnx')
    write_index(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('XDG_CACHE_HOME', str(cache))
        yield folder


def slow_bundle(fast: Path, path: Path) -> None:
    """The same answers after a chain of large matrix products whose result adds nothing to them."""
    loaded = load(str(fast))
    model = onnx.load_from_string(loaded.bundle.data)
    graph = model.graph
    graph.node[-1].output[0] = 'fast_logits'
    names = [f'product{i}' for i in range(PRODUCTS + 1)]
    graph.node.extend([
        helper.make_node('ReduceMean', ['mean'], ['level'], axes=[0, 1], keepdims=0),
        helper.make_node('Add', ['eye', 'level'], [names[0]]),
        *(helper.make_node('MatMul', [a, 'eye'], [b]) for a, b in zip(names, names[1:])),
        helper.make_node('ReduceMean', [names[-1]], ['rest'], keepdims=0),
        helper.make_node('Mul', ['rest', 'nothing'], ['zero']),
        helper.make_node('Add', ['fast_logits', 'zero'], ['logits'])])
    graph.initializer.extend([numpy_helper.from_array(np.eye(SIDE, dtype=np.float32), 'eye'),
                              numpy_helper.from_array(np.array(0, np.float32), 'nothing')])
    del model.metadata_props[:]
    onnx.checker.check_model(model)
    save_bundle(model.SerializeToString(), replace(loaded.card, name='slow'), path)


def assert_ends_well(node: subprocess.Popen[bytes], log: Path, *signals: signal.Signals) -> None:
    """Status 0 in time, and not a word that frightens."""
    began = time.monotonic()
    for number in signals:
        node.send_signal(number)
        time.sleep(0.05)
    status = node.wait(30.0)
    seconds = time.monotonic() - began
    print(f'{[number.name for number in signals]}: {seconds:.2f} s')
    text = log.read_text()
    assert status == 0, text
    assert seconds <= EXIT_S
    for word in ('Traceback', 'Exception', 'terminate called', 'Segmentation', 'RCLError'):
        assert word not in text, text


@pytest.mark.parametrize('number', SIGNALS, ids=lambda n: n.name)
def test_a_signal_while_idle(drive: Driver, models: Path, tmp_path: Path, number: signal.Signals) -> None:
    log = tmp_path / 'node.log'
    with active_node(drive, log, {'model': models / 'tiny.onnx'}) as node:
        assert_ends_well(node, log, number)


@pytest.mark.parametrize('signals', [SIGNALS[:1], SIGNALS[1:], SIGNALS[:1] * 2, SIGNALS[::-1]],
                         ids=lambda s: '+'.join(n.name for n in s))
def test_signals_under_load(drive: Driver, models: Path, tmp_path: Path,
                            signals: tuple[signal.Signals, ...]) -> None:
    log = tmp_path / 'node.log'
    heard = drive.hear(Classification, '/shufflenet/classification')
    with (active_node(drive, log, {'model': models / 'tiny.onnx'}) as node,
          Stream(drive.camera(), plain(RED, size=(240, 320)), 100.0)):
        wait_for(lambda: len(heard) > 20, 'answers')
        assert_ends_well(node, log, *signals)


@pytest.mark.parametrize('number', SIGNALS, ids=lambda n: n.name)
def test_a_signal_during_a_long_inference(drive: Driver, models: Path, tmp_path: Path,
                                          number: signal.Signals) -> None:
    """An inference of seconds can't be interrupted: the process ends around it. Services go on (D13)."""
    log = tmp_path / 'node.log'
    with (active_node(drive, log, {'model': models / 'slow.onnx'}) as node,
          Stream(drive.camera(), plain(RED), 5.0)):
        drive.status_when('camera', lambda s: s.count('in_flight') >= 1, 'the inference')
        asked = []
        for _ in range(10):
            began = time.monotonic()
            assert drive.state() == 'active'
            asked.append(time.monotonic() - began)
        print(f'get_state during an inference: at most {max(asked) * 1e3:.0f} ms')
        assert max(asked) < 1.0
        assert_ends_well(node, log, number)


@pytest.mark.parametrize(('after_s', 'number'), list(zip((0.0, 0.0, 0.003, 0.03, 0.3, 1.0), SIGNALS * 3)))
def test_a_signal_while_starting(own_domain: None, models: Path, tmp_path: Path, after_s: float,
                                 number: signal.Signals) -> None:
    """From main()'s first statement on it is status 0, in the middle of imports and of loading alike."""
    log = tmp_path / 'node.log'
    with process(ros_arguments({'model': models / 'tiny.onnx', 'autostart': True}), log) as node:
        until = time.monotonic() + 30.0
        while not in_hand(node.pid):  # without a pause: it is to be the first moment
            assert node.poll() is None and time.monotonic() < until, log.read_text()
        time.sleep(after_s)
        assert_ends_well(node, log, number)


def test_a_signal_before_main_is_pythons_own_business(own_domain: None, tmp_path: Path) -> None:
    """SIGTERM ends it as it ends any Python; and never with a status or a word that is neither."""
    statuses = []
    for i in range(EARLY):
        log = tmp_path / f'{i}.log'
        with process(['-c', 'import sys; from shufflenet_ros.ros.main import main; sys.exit(main())'],
                     log) as node:
            time.sleep(EARLY_S * i / EARLY)
            ready = in_hand(node.pid)
            node.send_signal(signal.SIGTERM)
            statuses.append(node.wait(30.0))
            assert statuses[-1] in ((0,) if ready else (0, -signal.SIGTERM)), log.read_text()
            assert 'Traceback' not in log.read_text()
    print(statuses)
    assert statuses[0] == -signal.SIGTERM, 'the first comes before Python has begun'


def in_hand(pid: int) -> bool:
    """Whether the process has a handler of its own for SIGTERM, or holds it back until it has one."""
    status = Path(f'/proc/{pid}/status').read_text()
    masks = [int(status.split(f'{name}:')[1].split()[0], 16) for name in ('SigBlk', 'SigCgt')]
    return any(mask & 1 << (signal.SIGTERM - 1) for mask in masks)


def test_a_signal_in_the_middle_of_taking_signals_in_hand_is_not_lost() -> None:
    """Between the handler and the pipe that it writes to a signal would go nowhere."""
    code = """
import os, signal
from shufflenet_ros.ros.signals import StopSignals
set_wakeup_fd = signal.set_wakeup_fd
def late(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGTERM)
    return set_wakeup_fd(*args, **kwargs)
signal.set_wakeup_fd = late
os._exit(0 if StopSignals()._stopped.wait(10.0) else 3)
"""
    assert subprocess.run([sys.executable, '-c', code], timeout=30, check=False).returncode == 0


def test_nothing_slow_is_imported_before_signals_are_in_hand() -> None:
    """ctypes, socket and tempfile alone took 35 ms in which a signal killed."""
    code = (f'import sys; sys.path.insert(0, {str(ROOT)!r}); old = set(sys.modules); '
            'import shufflenet_ros.ros.main; print(*set(sys.modules) - old)')
    new = subprocess.run([sys.executable, '-I', '-S', '-c', code], capture_output=True, text=True, timeout=30,
                         check=True).stdout.split()
    slow = {'ctypes', 'socket', 'tempfile', 'contextlib', 'rclpy', 'numpy', 'logging', 'typing', 'pathlib'}
    assert 'shufflenet_ros.ros.signals' in new and not slow & set(new)


def test_a_wrong_model_leaves_the_node_up_and_says_why(drive: Driver, tmp_path: Path) -> None:
    log, model = tmp_path / 'node.log', tmp_path / 'no such model.onnx'
    with process(ros_arguments({'model': f"'{model}'", 'autostart': True}), log) as node:
        wait_for(lambda: 'configure failed' in log.read_text(), 'the error')
        line, = [line for line in log.read_text().splitlines() if 'configure failed' in line]
        assert line.startswith('[ERROR]') and str(model) in line
        print(line)
        assert drive.state() == 'unconfigured'
        status = drive.status_when('node', lambda s: s.level == 2, 'the failure')
        assert status.message.startswith('unconfigured: configure failed: ') and str(model) in status.message
        tiny_bundle(model)
        assert drive.change_state(1) and drive.state() == 'inactive', 'once the file is there it configures'
        drive.status_when('node', lambda s: s.level == 0 and s.message == 'inactive', 'the recovery')
        assert node.poll() is None
        assert_ends_well(node, log, signal.SIGINT)


def test_killed_and_started_again_it_comes_back_active(drive: Driver, models: Path, tmp_path: Path) -> None:
    heard = drive.hear(Classification, '/shufflenet/classification')
    parameters = {'model': models / 'tiny.onnx'}
    camera = drive.node.create_publisher(type(plain(RED)), '/image_raw', 10)
    with Stream(camera, plain(RED), 20.0):
        with active_node(drive, tmp_path / 'first.log', parameters) as node:
            wait_for(lambda: heard, 'an answer')
            node.kill()
            assert node.wait(5.0) == -signal.SIGKILL
        heard.clear()
        began = time.monotonic()
        with process(ros_arguments(parameters | {'autostart': True}), tmp_path / 'second.log'):
            wait_for(lambda: heard, 'an answer after the kill')
            print(f'first answer {time.monotonic() - began:.2f} s after the second start')


def test_an_idle_node_costs_next_to_nothing(
        drive: Driver, models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with active_node(drive, tmp_path / 'node.log', {'model': models / 'tiny.onnx'}) as node:
        drive.close()  # nobody listens and nobody asks
        time.sleep(2.0)
        before = cpu_seconds(node.pid)
        time.sleep(IDLE_S)
        percent = 100 * (cpu_seconds(node.pid) - before) / IDLE_S
    with capsys.disabled():
        print(f'\nidle: {percent:.2f} % of a core')
    assert percent < 3.0


def cpu_seconds(pid: int) -> float:
    """User and system time that a process has taken so far."""
    fields = Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')
