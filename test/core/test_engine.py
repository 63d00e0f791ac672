# SPDX-License-Identifier: Apache-2.0
"""The engine: policies, turns, how frames end, the rate limit, start and stop."""

import gc
import logging
import weakref

import pytest
from engines import ManualWorker, nonzero

from shufflenet_ros.core.engine import BusyError, Engine
from shufflenet_ros.core.reasons import DropReason, FrameError


def started(cameras, handle, **options):
    """An engine that runs, whose steps the test takes."""
    engine = Engine(cameras, handle, worker=ManualWorker(), **options)
    engine.start()
    return engine


def run_out(engine):
    """Take steps until nothing waits."""
    while engine.step():
        pass


def test_latest_keeps_the_newest_frame_also_while_one_is_handled():
    handled = []

    def handle(frame):
        handled.append(frame.message)
        if frame.message == 2:
            for message in (3, 4, 5):
                engine.submit('', message)
            assert nonzero(engine.counts('')) == {'received': 6, 'superseded': 4, 'in_flight': 2}

    engine = started([''], handle)
    for message in (0, 1, 2):
        engine.submit('', message)
    run_out(engine)
    assert handled == [2, 5]
    assert nonzero(engine.counts('')) == {'received': 6, 'published': 2, 'superseded': 4}


def test_frames_carry_camera_and_both_times():
    now = [10.0]
    frames = []
    engine = started(['a', 'b'], frames.append, clock=lambda: now[0])
    engine.submit('b', 'image')
    now[0] = 10.5
    assert engine.step()
    assert not engine.step()
    frame, = frames
    assert (frame.camera, frame.message, frame.arrived, frame.taken) == ('b', 'image', 10.0, 10.5)


class UnprintableError(Exception):
    """Cannot even be printed."""

    def __str__(self):
        raise RuntimeError('no')


@pytest.mark.parametrize(('error', 'reason', 'reported'), [
    *[(FrameError(reason, 'because'), reason, 'because') for reason in DropReason],
    (MemoryError(), DropReason.NO_MEMORY, 'MemoryError'),
    (ValueError('odd\nshape'), DropReason.BACKEND_ERROR, r'ValueError: odd\nshape'),
    (KeyError('x'), DropReason.BACKEND_ERROR, "KeyError: 'x'"),
    (StopIteration(), DropReason.BACKEND_ERROR, 'StopIteration'),
    (RecursionError('deep'), DropReason.BACKEND_ERROR, 'RecursionError: deep'),
    (UnprintableError(), DropReason.BACKEND_ERROR, 'UnprintableError'),
], ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None)
def test_an_exception_drops_only_its_own_frame(error, reason, reported):
    heard = []

    def handle(frame):
        if frame.message == 'bad':
            raise error

    def on_drop(frame, dropped):
        assert nonzero(engine.counts(''))[str(reason)] == 1, 'counted before it is reported'
        heard.append((frame.message, dropped.reason, dropped.detail, dropped.__cause__))

    engine = started([''], handle, on_drop=on_drop)
    for message in ('good', 'bad', 'good'):
        engine.submit('', message)
        assert engine.step()
    assert nonzero(engine.counts('')) == {'received': 3, 'published': 2, str(reason): 1}
    (message, heard_reason, detail, cause), = heard
    assert (message, heard_reason) == ('bad', reason)
    assert reported in detail
    assert cause is (None if isinstance(error, FrameError) else error)


@pytest.mark.parametrize('error', [KeyboardInterrupt, SystemExit])
def test_a_request_to_exit_is_raised_and_the_frame_is_counted(error):
    def handle(frame):
        raise error

    engine = started([''], handle)
    engine.submit('', None)
    with pytest.raises(error):
        engine.step()
    assert nonzero(engine.counts('')) == {'received': 1, 'backend_error': 1}


def test_a_failing_on_drop_is_logged_once(caplog):
    def fail(*_):
        raise ValueError('listener is broken')

    engine = started([''], fail, on_drop=fail, clock=lambda: 0.0)
    with caplog.at_level(logging.ERROR):
        for _ in range(50):
            engine.submit('', None)
            assert engine.step()
    assert nonzero(engine.counts('')) == {'received': 50, 'backend_error': 50}
    assert len(caplog.records) == 1 and 'listener is broken' in caplog.text


@pytest.mark.parametrize('make_error', [lambda: FrameError(DropReason.SHORT_DATA, ''), ValueError, None])
def test_finished_frames_are_freed(make_error):
    class Message:
        pass

    def handle(frame):
        if make_error is not None:
            raise make_error()

    engine = started([''], handle, on_drop=lambda frame, dropped: None)
    message = Message()
    alive = weakref.ref(message)
    gc.disable()
    try:
        engine.submit('', message)
        del message
        assert engine.step()
        assert alive() is None, 'a reference cycle would keep a whole image until the next collection'
    finally:
        gc.enable()


def submit_at(engine, now, rate_hz, seconds):
    """Frames at a camera's rate, on the engine's clock."""
    for _ in range(round(rate_hz * seconds)):
        now[0] += 1 / rate_hz
        engine.submit('', None)
        engine.step()


@pytest.mark.parametrize(('camera_hz', 'max_hz', 'published'), [
    (32, 8, 80), (32, 32, 320), (32, 24, 240), (32, 0, 320), (32, 100, 320), (500, 8, 80), (4, 8, 40),
])
def test_max_rate_counts_exactly(camera_hz, max_hz, published):
    now = [0.0]
    engine = started([''], lambda frame: None, clock=lambda: now[0])
    engine.max_rate_hz = max_hz
    submit_at(engine, now, camera_hz, seconds=10)
    counts = engine.counts('')
    assert counts.received == camera_hz * 10
    # A last slot of the grid may just have begun.
    assert published <= counts.published <= published + 1
    assert counts.dropped[DropReason.THROTTLED] == counts.received - counts.published
    assert counts.superseded == 0


def test_max_rate_changes_at_run_time_and_allows_no_burst():
    now = [0.0]
    engine = started([''], lambda frame: None, clock=lambda: now[0])
    submit_at(engine, now, 32, seconds=1)
    engine.max_rate_hz = 1.0
    submit_at(engine, now, 32, seconds=4)
    assert nonzero(engine.counts('')) == {'received': 160, 'published': 36, 'throttled': 124}
    now[0] += 1000
    submit_at(engine, now, 32, seconds=4)
    # Four more, not a burst saved up in the pause.
    assert nonzero(engine.counts('')) == {'received': 288, 'published': 40, 'throttled': 248}
    engine.max_rate_hz = 0
    submit_at(engine, now, 32, seconds=1)
    assert engine.counts('').published == 72


def test_counts_are_a_read_only_snapshot():
    engine = started([''], lambda frame: None)
    before = engine.counts('')
    engine.submit('', None)
    assert before.received == 0
    assert set(before.dropped) == set(DropReason)
    with pytest.raises(TypeError):
        before.dropped[DropReason.STALE] = 1


def test_counts_have_the_processing_time_of_the_current_frame():
    now = [10.0]
    seen = []

    def handle(frame):
        now[0] += 2.5
        seen.append([engine.counts(camera).processing_s for camera in 'ab'] + [engine.total().processing_s])
        if frame.message == 'bad':
            raise ValueError

    engine = started(['a', 'b'], handle, clock=lambda: now[0])
    for message in ('good', 'bad'):
        engine.submit('b', message)
        now[0] += 1.0  # waiting is not processing
        assert engine.total().processing_s == 0.0
        assert engine.step()
        assert seen.pop() == [0.0, 2.5, 2.5]
        assert engine.total().processing_s == 0.0


def test_the_engine_does_not_start_while_a_frame_is_being_handled():
    rejected = []

    def handle(frame):
        now[0] += 7.25
        engine.stop(0.0)
        try:
            engine.start()
        except BusyError as error:
            rejected.append(str(error))

    now = [0.0]
    engine = started([''], handle, clock=lambda: now[0])
    engine.submit('', None)
    run_out(engine)
    assert rejected == ['a frame has been processed for 7.2 s and cannot be interrupted']
    engine.start()
    engine.submit('', None)
    assert engine.counts('').waiting == 1
