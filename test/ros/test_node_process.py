# SPDX-License-Identifier: Apache-2.0
"""The process: its end (D6), a wrong model, restarts, idle cost, odd surroundings (D20), a twin (D19)."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from driving import ERROR, OK, RED, Stream, active_node, driver, plain, stamp_of
from in_process import ros_context, unspun_node
from rclpy.executors import SingleThreadedExecutor
from replaying import ROOT, node_arguments, process, wait_for
from sensor_msgs.msg import Image
from tiny_bundle import tiny_bundle
from vision_msgs.msg import Classification

from shufflenet_ros.ros.node import SUCCESS

EXIT_S = 5.0  # 2 s are promised; a loaded machine gets some more
IDLE_S = 3.0
EARLY, EARLY_S = 5, 0.15  # starts, and the latest time of a signal in them
SIGINT, SIGTERM = SIGNALS = (signal.SIGINT, signal.SIGTERM)


def names(signals: tuple[signal.Signals, ...]) -> str:
    return '+'.join(number.name for number in signals)


def assert_ends_in_order(node: subprocess.Popen[bytes], log: Path, *signals: signal.Signals) -> None:
    """Status 0 in time, and nothing in the log that looks like a crash."""
    began = time.monotonic()
    for number in signals:
        node.send_signal(number)
        time.sleep(0.05)
    status = node.wait(30.0)
    seconds = time.monotonic() - began
    print(f'{names(signals)}: {seconds:.2f} s')
    text = log.read_text()
    assert status == 0, text
    assert seconds <= EXIT_S
    for word in ('Traceback', 'Exception', 'terminate called', 'Segmentation', 'RCLError'):
        assert word not in text, text


@pytest.mark.parametrize('number', SIGNALS, ids=lambda n: n.name)
def test_an_idle_node_costs_next_to_nothing_and_a_signal_ends_it(drive, model, tmp_path, capsys, number):
    log = tmp_path / 'node.log'
    with active_node(drive, log, {'model': model}) as node:
        drive.close()  # nobody listens and nobody asks
        if number == SIGINT:
            time.sleep(1.0)
            before = cpu_seconds(node.pid)
            time.sleep(IDLE_S)
            percent = 100 * (cpu_seconds(node.pid) - before) / IDLE_S
            with capsys.disabled():
                print(f'\nidle: {percent:.2f} % of a core')
            assert percent < 3.0
        assert_ends_in_order(node, log, number)


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


@pytest.mark.parametrize('signals', [(SIGINT,), (SIGTERM,), (SIGINT, SIGINT), (SIGTERM, SIGINT)], ids=names)
def test_signals_under_load(drive, model, tmp_path, signals):
    log = tmp_path / 'node.log'
    heard = drive.hear(Classification, '/shufflenet/classification')
    with (active_node(drive, log, {'model': model}) as node,
          Stream(drive.camera(), plain(RED, size=(240, 320)), 100.0)):
        wait_for(lambda: len(heard) > 20, 'results')
        assert_ends_in_order(node, log, *signals)


@pytest.mark.parametrize(('after_s', 'number'), list(zip((0.0, 0.0, 0.003, 0.03, 0.3, 1.0), SIGNALS * 3)))
def test_a_signal_while_starting(own_domain, model, tmp_path, after_s, number):
    """The status is 0 from main()'s first statement on, also during imports and while the model loads."""
    log = tmp_path / 'node.log'
    with process(node_arguments({'model': model}), log) as node:
        until = time.monotonic() + 30.0
        while not handles_signals(node.pid):  # without a pause, to catch the first moment
            assert node.poll() is None and time.monotonic() < until, log.read_text()
        time.sleep(after_s)
        assert_ends_in_order(node, log, number)


def test_a_signal_before_main_acts_as_on_any_python_process(own_domain, tmp_path):
    """SIGTERM ends it by that signal, and never with a traceback."""
    statuses = []
    for i in range(EARLY):
        log = tmp_path / f'{i}.log'
        with process(['-c', 'import sys; from shufflenet_ros.ros.main import main; sys.exit(main())'],
                     log) as node:
            time.sleep(EARLY_S * i / EARLY)
            ready = handles_signals(node.pid)
            node.send_signal(SIGTERM)
            statuses.append(node.wait(30.0))
            assert statuses[-1] in ((0,) if ready else (0, -SIGTERM)), log.read_text()
            assert 'Traceback' not in log.read_text()
    print(statuses)
    assert statuses[0] == -SIGTERM, 'the first comes before Python has begun'


def handles_signals(pid: int) -> bool:
    """Whether the process has a handler for SIGTERM, or blocks it until it has one."""
    status = Path(f'/proc/{pid}/status').read_text()
    masks = [int(status.split(f'{name}:')[1].split()[0], 16) for name in ('SigBlk', 'SigCgt')]
    return any(mask & 1 << (SIGTERM - 1) for mask in masks)


def test_a_signal_while_the_handlers_are_installed_is_not_lost():
    """Between the handler and the pipe that it writes to, a signal would have no effect."""
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


def test_nothing_slow_is_imported_before_the_handlers_are_installed():
    """ctypes, socket and tempfile alone took 35 ms in which a signal killed."""
    code = (f'import sys; sys.path.insert(0, {str(ROOT)!r}); old = set(sys.modules); '
            'import shufflenet_ros.ros.main; print(*set(sys.modules) - old)')
    new = subprocess.run([sys.executable, '-I', '-S', '-c', code], capture_output=True, text=True, timeout=30,
                         check=True).stdout.split()
    slow = {'ctypes', 'socket', 'tempfile', 'contextlib', 'rclpy', 'numpy', 'logging', 'typing', 'pathlib'}
    assert 'shufflenet_ros.ros.signals' in new and not slow & set(new)


def test_a_wrong_model_leaves_the_node_running_and_is_reported(drive, tmp_path):
    log, model = tmp_path / 'node.log', tmp_path / 'no such model.onnx'
    with process(node_arguments({'model': f"'{model}'"}), log) as node:
        wait_for(lambda: 'configure failed' in log.read_text(), 'the error')
        line, = [line for line in log.read_text().splitlines() if 'configure failed' in line]
        assert line.startswith('[ERROR]') and str(model) in line
        assert drive.state() == 'unconfigured'
        status = drive.status_when('node', lambda s: s.level == ERROR, 'the failure')
        assert status.message.startswith('unconfigured: configure failed: ') and str(model) in status.message
        tiny_bundle(model)
        assert drive.change(label='configure') and drive.state() == 'inactive', 'the file is there now'
        drive.status_when('node', lambda s: s.level == OK and s.message == 'inactive', 'the recovery')
        assert_ends_in_order(node, log, SIGINT)


def test_killed_and_started_again_it_comes_back_active(drive, model, tmp_path):
    heard = drive.hear(Classification, '/shufflenet/classification')
    camera = drive.operator.create_publisher(Image, '/image_raw', 10)
    with Stream(camera, plain(RED), 20.0):
        with active_node(drive, tmp_path / 'first.log', {'model': model}) as node:
            wait_for(lambda: heard, 'a result')
            node.kill()
            assert node.wait(5.0) == -signal.SIGKILL
        heard.clear()
        with process(node_arguments({'model': model}), tmp_path / 'second.log'):
            wait_for(lambda: heard, 'a result after the kill')


# Changed variables (None: not set), interpreter options and folder; nobody can create files in /proc, not
# even root.
SURROUNDINGS: dict[str, tuple[dict[str, str | None], tuple[str, ...], str | None]] = {
    'no_home': ({'HOME': None}, (), None),
    'home_not_there': ({'HOME': '/proc/nobody'}, (), None),
    'home_a_file_locale_c': ({'HOME': '/proc/version', 'LC_ALL': 'C', 'LANG': None}, (), None),
    'ros_home_not_writable_optimized': ({'ROS_HOME': '/proc/ros'}, ('-O',), None),
    'log_dir_not_writable_read_only_folder': ({'ROS_LOG_DIR': '/proc/log'}, (), '/proc'),
}


def test_the_node_starts_in_odd_surroundings(own_domain, model, tmp_path, repo_root):
    """All at once, because nearly all of the time is waiting."""
    with ExitStack() as stack:
        children = {}
        for name, (variables, options, folder) in SURROUNDINGS.items():
            environment: dict[str, Any] = {**os.environ, 'PYTHONPATH': os.pathsep.join(
                [str(repo_root), os.environ.get('PYTHONPATH', '')]), **variables}
            children[name] = stack.enter_context(process(
                [*options, *node_arguments({'model': model}, '-r', f'__node:={name}')],
                tmp_path / f'{name}.log', cwd=folder or repo_root,
                env={key: value for key, value in environment.items() if value is not None}))
        for name, child in children.items():
            log = tmp_path / f'{name}.log'
            with driver(f'/{name}') as drive:
                wait_for(lambda log=log: 'listening on' in log.read_text(), f'{name} to be active')
                assert drive.state() == 'active', log.read_text()
            child.send_signal(signal.SIGINT)
        for name, child in children.items():
            assert child.wait(20.0) == 0, name
    for name in SURROUNDINGS:
        text = (tmp_path / f'{name}.log').read_text()
        assert 'Traceback' not in text, text
        if 'writable' in name or name.startswith('home'):
            assert "can't be written; logs go to" in text, text


def test_two_nodes_of_one_name_both_give_results(context, model):
    # In two contexts, because DDS sees these as it sees two processes.
    with (ros_context() as other, unspun_node(context, name='twin', model=model) as one,
          unspun_node(other, name='twin', model=model) as two, driver('/twin') as drive):
        executors = []
        for node in (one, two):
            assert node.trigger_configure() == node.trigger_activate() == SUCCESS
            executors.append(SingleThreadedExecutor(context=node.context))
            executors[-1].add_node(node)
        results = drive.hear(Classification, '/twin/classification')
        camera = drive.operator.create_publisher(Image, '/image_raw', 10)
        numbers = itertools.count(1)

        def two_results() -> bool:
            number = next(numbers)
            camera.publish(plain(RED, (number, 0)))
            for executor in executors * 10:
                executor.spin_once(timeout_sec=0.01)
            return [stamp_of(result)[0] for result in list(results)].count(number) == 2

        wait_for(two_results, 'two results for one frame')
        for executor in executors:
            executor.shutdown()
