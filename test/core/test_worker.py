# SPDX-License-Identifier: Apache-2.0
"""The engine with its real thread: sleep, stop in the middle of a frame, restart, survival."""

import threading
import time

import pytest
from engines import nonzero

from shufflenet_ros.core.engine import BusyError, Engine
from shufflenet_ros.core.worker import ThreadWorker


def eventually(condition, seconds=20.0):
    """Wait for another thread; the limit is only there so that a broken engine ends the test."""
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


def test_stop_asked_by_the_handler_itself_says_false_and_stops():
    answers = []
    engine = Engine([''], lambda frame: answers.append(engine.stop(20)))
    engine.start()
    engine.submit('', None)
    eventually(lambda: answers)
    assert answers == [False]
    assert engine.stop(20) is True
    assert engine.counts('').published == 1


class CountingWorker(ThreadWorker):
    """Counts how often the thread looks for work."""

    looks = 0

    def start(self, step, wait):
        def look():
            self.looks += 1
            return wait()

        super().start(step, look)


def test_an_idle_worker_sleeps():
    worker = CountingWorker()
    engine = Engine(['a', 'b'], lambda frame: None, worker=worker)
    engine.start()
    eventually(lambda: worker.looks == 1)
    cpu = time.process_time()
    time.sleep(0.05)
    print(f'idle for 50 ms: {(time.process_time() - cpu) * 1e3:.2f} ms of CPU')
    assert worker.looks == 1, 'nobody polls'
    engine.submit('b', None)
    eventually(lambda: engine.counts('b').published == 1)
    assert engine.stop(20)
    assert worker.looks <= 3


def test_the_worker_outlives_a_clock_that_fails(caplog):
    """Nothing but a fault inside step itself gets past its guard; even that must not end the thread."""
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
    with pytest.raises(KeyboardInterrupt):
        engine.submit('', None)
        time.sleep(20)
    assert engine.stop(20)
    assert nonzero(engine.counts('')) == {'received': 1, 'backend_error': 1}


class NotingWorker:
    """Remembers what it was given at each start."""

    def __init__(self):
        self.waits = []

    def start(self, step, wait):
        self.waits.append(wait)

    def stop(self, timeout):
        return True


def test_a_second_start_is_no_second_run_and_a_run_that_was_stopped_stays_over():
    worker = NotingWorker()
    engine = Engine([''], lambda frame: None, worker=worker)
    engine.start()
    engine.start()
    first, = worker.waits
    engine.submit('', 1)
    assert first()
    assert engine.stop(1.0)
    assert not first()
    engine.start()
    engine.submit('', 2)
    assert not first(), 'else two threads would take frames after a restart in the middle of one'
    assert worker.waits[1]()
