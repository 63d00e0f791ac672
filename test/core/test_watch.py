# SPDX-License-Identifier: Apache-2.0
"""A camera's five states, on a clock that only the test moves."""

import math

import pytest

from shufflenet_ros.core.watch import CameraHealth, Level, RateWatch, WatchState, stall_level


class Camera:
    """A watch and the clock on which frames reach it."""

    def __init__(self, **limits: float) -> None:
        self.now = 5000.0
        self.watch = RateWatch(lambda: self.now, **limits)

    def frames(self, rate_hz: float, seconds: float) -> list[CameraHealth]:
        """Send frames, and look ten times as often."""
        checks = []
        for i in range(1, round(seconds * rate_hz) * 10 + 1):
            self.now += 0.1 / rate_hz
            if i % 10 == 0:
                self.watch.note()
            checks.append(self.watch.check())
        return checks

    def silence(self, seconds: float) -> list[CameraHealth]:
        """Send nothing, and look every 50 ms."""
        checks = []
        for _ in range(round(seconds / 0.05)):
            self.now += 0.05
            checks.append(self.watch.check())
        return checks


def changes(checks: list[CameraHealth]) -> list[str]:
    """States, each run of equal ones once."""
    states = [str(health.state) for health in checks]
    return [s for i, s in enumerate(states) if i == 0 or s != states[i - 1]]


@pytest.mark.parametrize(('rate_hz', 'state', 'level'), [
    (30, WatchState.OK, Level.OK), (40, WatchState.OK, Level.OK), (24.5, WatchState.OK, Level.OK),
    (23, WatchState.WARN_RATE, Level.WARN), (15.5, WatchState.WARN_RATE, Level.WARN),
    (14, WatchState.ERROR_RATE, Level.ERROR), (2, WatchState.ERROR_RATE, Level.ERROR),
])
def test_rate_states(rate_hz, state, level):
    health = Camera(expected_rate_hz=30).frames(rate_hz, 5)[-1]
    assert (health.state, health.level) == (state, level)
    assert health.rate_hz == pytest.approx(rate_hz)
    assert f'{rate_hz:.1f} Hz' in health.text
    assert '30 Hz' in health.text


def test_not_received_then_ok_then_timeout():
    camera = Camera(timeout_s=1.0)
    before = camera.silence(3)
    assert changes(before) == ['NotReceived']
    assert before[-1].level == Level.ERROR
    assert changes(camera.frames(10, 2)) == ['NotReceived', 'OK']
    after = camera.silence(1.5)
    assert changes(after) == ['OK', 'Timeout']
    assert after[-1].level == Level.ERROR
    assert 'no frame for 1.5 s (timeout 1 s)' in after[-1].text
    assert after[-1].rate_hz == 0.0, 'not the rate of before'


@pytest.mark.parametrize('expected_rate_hz', [0.0, 20.0])
def test_b7_switching_a_camera_four_times_makes_four_transitions(expected_rate_hz):
    """Row B7, like rclcpp's test_deadline; a camera that comes back is not reported as slow."""
    camera = Camera(expected_rate_hz=expected_rate_hz, timeout_s=0.3)
    camera.frames(20, 1)
    checks = camera.silence(1) + camera.frames(20, 1) + camera.silence(1) + camera.frames(20, 1)
    states = changes([CameraHealth(WatchState.OK, '', 0.0), *checks])
    assert states == ['OK', 'Timeout', 'OK', 'Timeout', 'OK']


def test_timeout_is_seen_at_once_and_cleared_by_the_first_frame():
    camera = Camera(timeout_s=1.0)
    camera.frames(30, 1)
    camera.now += 1.001
    assert camera.watch.check().state is WatchState.TIMEOUT
    camera.watch.note()
    health = camera.watch.check()
    assert health.state is WatchState.OK
    assert math.isnan(health.rate_hz)


def test_slow_cameras_are_measured_too():
    health = Camera(expected_rate_hz=30, timeout_s=10).frames(0.5, 8)[-1]
    assert health.state is WatchState.ERROR_RATE
    assert health.rate_hz == pytest.approx(0.5)


def test_checks_can_be_off_and_limits_change_at_run_time():
    camera = Camera(timeout_s=0.0)
    camera.frames(1, 5)
    assert changes(camera.silence(3600)) == ['OK']
    camera.watch.set_limits(0.0, 2.0)
    assert camera.watch.check().state is WatchState.TIMEOUT
    camera.frames(7, 3)
    camera.watch.set_limits(10.0, 2.0)
    assert camera.watch.check().state is WatchState.WARN_RATE
    camera.watch.reset()
    assert camera.watch.check().state is WatchState.NOT_RECEIVED


def test_a_flood_of_frames_takes_bounded_memory():
    camera = Camera(expected_rate_hz=30)
    for _ in range(2000):
        camera.watch.note()
    assert camera.watch.check().state is WatchState.OK
    assert camera.frames(10_000, 0.3)[-1].rate_hz == pytest.approx(10_000)
    assert len(camera.watch._arrivals) <= 1000


@pytest.mark.parametrize(('rate_hz', 'seconds'), [(30, 1.2), (2, 6)])
def test_a_change_of_rate_shows_within_a_second_or_ten_expected_frames(rate_hz, seconds):
    camera = Camera(expected_rate_hz=rate_hz, timeout_s=10)
    assert camera.frames(rate_hz, 20)[-1].state is WatchState.OK
    assert camera.frames(rate_hz / 3, seconds)[-1].state is WatchState.ERROR_RATE
    assert camera.frames(rate_hz, seconds)[-1].state is WatchState.OK


@pytest.mark.parametrize(('processing_s', 'stall_s', 'level'), [
    (0.0, 2.0, Level.OK), (1.0, 2.0, Level.OK), (1.01, 2.0, Level.WARN), (2.0, 2.0, Level.WARN),
    (2.01, 2.0, Level.ERROR), (1e9, 0.0, Level.OK), (0.0, 0.0, Level.OK),
])
def test_one_frame_that_takes_too_long(processing_s, stall_s, level):
    assert stall_level(processing_s, stall_s) is level
