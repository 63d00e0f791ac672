# SPDX-License-Identifier: Apache-2.0
"""The engine with its real thread: idle, stopped during a frame, restarted, after errors."""

import signal
import threading
import time

import pytest
from engines import ManualWorker, nonzero

from shufflenet_ros.core.engine import BusyError, Engine
from shufflenet_ros.core.worker import ThreadWorker


def eventually(condition, seconds=20.0):
    """Wait for another thread; the limit ends the test of a broken engine."""
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, 'the other thread never got there'
        time.sleep(0.001)


def test_stop_during_a_long_handle_neither_hangs_nor_loses_the_frame():
    entered, go_on = threading.Event(), threading.Event()
    handled = []

    def handle(frame):
        entered.set()
        assert go_on.wait(20)
        handled.append(frame.message)

    engine = Engine([''], handle)
    engine.start()
    engine.submit('', 'long')
    assert entered.wait(20)
    engine.submit('', 'waiting')
    assert engine.stop(0.01) is False
    assert nonzero(engine.counts('')) == {'received': 2, 'superseded': 1, 'in_flight': 1}
    with pytest.raises(BusyError, match=r'processed for \d+\.\d s and cannot be interrupted'):
        engine.start()
    assert handled == [], 'two frames are never handled at once'
    go_on.set()
    assert engine.stop(20) is True
    engine.start()
    engine.submit('', 'next run')
    eventually(lambda: handled == ['long', 'next run'])
    assert engine.stop(20) is True
    assert nonzero(engine.counts('')) == {'received': 3, 'published': 2, 'superseded': 1}
    assert engine.stop(20) is True


def test_stop_called_by_the_handler_returns_false_and_stops():
    results = []
    engine = Engine([''], lambda frame: results.append(engine.stop(20)))
    engine.start()
    engine.submit('', None)
    eventually(lambda: results)
    assert results == [False]
    assert engine.stop(20) is True
    assert engine.counts('').published == 1


class CountingWorker(ThreadWorker):
    """Counts how often the thread looks for work."""

    looks = 0

    def start(self, work):
        def look():
            self.looks += 1
            return work()

        super().start(look)


def test_an_idle_worker_sleeps():
    worker = CountingWorker()
    engine = Engine(['a', 'b'], lambda frame: None, worker=worker)
    engine.start()
    eventually(lambda: worker.looks == 1)
    time.sleep(0.05)
    assert worker.looks == 1, 'nobody polls'
    engine.submit('b', None)
    eventually(lambda: engine.counts('b').published == 1)
    assert engine.stop(20)
    assert worker.looks <= 3


def test_the_worker_survives_a_failing_clock(caplog):
    """An error inside step itself is not caught there; even that must not end the thread."""
    broken = threading.Event()
    handled = []

    def clock():
        if broken.is_set() and threading.current_thread() is not threading.main_thread():
            broken.clear()
            raise MemoryError
        return 0.0

    engine = Engine([''], lambda frame: handled.append(frame.message), clock=clock)
    engine.start()
    broken.set()
    engine.submit('', 1)
    eventually(lambda: handled == [1])
    assert engine.stop(20)
    assert nonzero(engine.counts('')) == {'received': 1, 'published': 1}
    assert 'a step failed' in caplog.text


def test_system_exit_in_the_worker_reaches_the_main_thread():
    def handle(frame):
        raise SystemExit

    engine = Engine([''], handle)
    engine.start()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's `&` makes Python ignore it
    try:
        with pytest.raises(KeyboardInterrupt):
            engine.submit('', None)
            time.sleep(20)
    finally:
        signal.signal(signal.SIGINT, before)
    assert engine.stop(20)
    assert nonzero(engine.counts('')) == {'received': 1, 'backend_error': 1}


def test_a_second_start_does_nothing_and_a_stopped_run_stays_stopped():
    worker = ManualWorker()
    engine = Engine([''], lambda frame: None, worker=worker)
    engine.start()
    engine.start()
    first, = worker.runs
    engine.submit('', 1)
    assert first()
    assert engine.stop(1.0)
    assert not first()
    engine.start()
    engine.submit('', 2)
    assert not first(), 'otherwise two threads would take frames'
    assert worker.runs[1]()
