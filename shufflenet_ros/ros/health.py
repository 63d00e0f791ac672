# SPDX-License-Identifier: Apache-2.0
"""The node watches itself and its cameras, and reports in /diagnostics and the log."""

import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.clock import Clock, ClockType  # type: ignore[attr-defined]  # Humble has it only there
from rclpy.lifecycle import LifecycleNode
from std_msgs.msg import Header

from shufflenet_ros.backends.load import LoadedModel
from shufflenet_ros.core.engine import Counts, Engine
from shufflenet_ros.core.service_manager import notify
from shufflenet_ros.core.text import printable
from shufflenet_ros.core.watch import Level, WatchState
from shufflenet_ros.ros.callback_errors import CallbackErrors
from shufflenet_ros.ros.cameras import Camera
from shufflenet_ros.ros.diagnostics import (
    camera_status,
    count_values,
    model_values,
    recent_drops,
    stall_status,
    status,
)
from shufflenet_ros.ros.parameter_node import ValidatedParameters

WATCH_PERIOD_S = 0.25
DIAGNOSTICS_PERIOD_S = 1.0
EXIT_STALLED = 70  # EX_SOFTWARE of sysexits.h


class WatchedNode(ValidatedParameters, LifecycleNode):
    """The part of the node that watches and reports.

    Attributes:
        state: the lifecycle state's name.
        failure: why the last transition failed; '' if it worked.
        errors: exceptions of callbacks.
        exit_status: not 0 once the process must end.
    """

    _loaded: LoadedModel | None = None
    _engine: Engine | None = None
    _cameras: dict[str, Camera]
    _activated_at = float('-inf')

    def start_watching(self) -> None:
        """Start to publish diagnostics."""
        self.state, self.failure, self.exit_status = 'unconfigured', '', 0
        self.errors = CallbackErrors(self.get_logger())
        self._last_reported: dict[str, WatchState] = {}
        self._published_counts: dict[str, Counts] = {}
        self._published_at = float('-inf')
        self._stalled = Level.OK
        self._notified = ''
        self._abandoned: list[Engine] = []  # released while an inference still ran in them
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        # In simulation a ROS-time timer would not run before the first /clock.
        self.create_timer(WATCH_PERIOD_S, self.watch, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def watch(self) -> None:
        """Check worker and cameras; publish diagnostics every second, and at once when a state changes."""
        changed = self._watch_worker()
        self._notify_service_manager()
        for name, camera in self._cameras.items() if self.state == 'active' else ():
            changed |= self._watch_camera(name, camera)
        if changed or time.monotonic() - self._published_at >= DIAGNOSTICS_PERIOD_S - WATCH_PERIOD_S / 2:
            self._published_at = time.monotonic()
            stamp = self.get_clock().now().to_msg()
            self._diagnostics.publish(DiagnosticArray(header=Header(stamp=stamp), status=self._statuses()))

    def abandoned(self) -> int:
        """The number of inferences that still run in released engines."""
        self._abandoned = [engine for engine in self._abandoned if not engine.stop(0.0)]
        return len(self._abandoned)

    def _watch_worker(self) -> bool:
        """Log when an inference stalls and when it ends; end the process after stall_exit_s."""
        counts = self._engine.total() if self._engine is not None else None
        level, text = stall_status(counts, self.value_of('stall_s')) if counts else (Level.OK, '')
        before, self._stalled = self._stalled, level
        if level is Level.ERROR and before is not Level.ERROR:
            self.get_logger().error(f'{text}. No other frame is processed meanwhile')
        elif before is Level.ERROR and level is not before and counts:
            # Without an engine it was abandoned and may still run.
            self.get_logger().info('the stalled frame has ended')
        limit = self.value_of('stall_exit_s')
        if counts and 0.0 < limit < counts.processing_s and not self.exit_status:
            self.exit_status = EXIT_STALLED
            self.get_logger().fatal(
                f'a frame has been processed for {counts.processing_s:.1f} s, stall_exit_s is {limit:g}: '
                f'the process ends with status {EXIT_STALLED}')
        return level is not before

    def _notify_service_manager(self) -> None:
        """Tell systemd that the node is alive, unless a frame has stalled: a spinning loop is not enough."""
        stalled = self._stalled is Level.ERROR
        text = f'{self.state}: {self.failure}' if self.failure else self.state
        text = printable(f'{text}, a frame takes longer than stall_s' if stalled else text)
        lines = ['WATCHDOG=1'] if not stalled and not self.exit_status else []
        if text != self._notified:
            self._notified = text
            lines.append(f'STATUS={text}')
        if lines:
            notify(*lines)

    def _watch_camera(self, name: str, camera: Camera) -> bool:
        """Log a change of the camera's state; a camera has timeout_s to send its first frame."""
        health = camera.watch.check()
        state, logger = health.state, self.get_logger()
        waiting = time.monotonic() - self._activated_at < max(1.0, self.value_of('timeout_s'))
        if state is self._last_reported[name] or state is WatchState.NOT_RECEIVED and waiting:
            return False
        self._last_reported[name] = state
        if state in (WatchState.NOT_RECEIVED, WatchState.TIMEOUT):
            logger.warning(f'{camera.title}: {health.text}. {camera.silence_hint()}')
        elif state is WatchState.OK:
            logger.info(f'{camera.title}: {health.text}')
        else:
            logger.warning(f'{camera.title}: {state}, {health.text}', throttle_duration_sec=5.0)
        return True

    def _statuses(self) -> list[DiagnosticStatus]:
        statuses = [self._own_status()]
        if self.state != 'active' or self._engine is None or self._loaded is None:
            return statuses
        for name, camera in self._cameras.items():
            counts = self._engine.counts(name)
            drops = recent_drops(self._published_counts.get(name), counts)
            self._published_counts[name] = counts
            statuses.append(camera_status(
                f'{self.get_fully_qualified_name()}: {camera.title}', camera, counts, drops,
                self._loaded.card.name, self.value_of('stall_s')))
        return statuses

    def _own_status(self) -> DiagnosticStatus:
        model = self.value_of('model')
        values: dict[str, Any] = {'state': self.state, 'model': model}
        reports = [(Level.ERROR, f'{self.state}: {self.failure}') if self.failure else (Level.OK, self.state)]
        if self._loaded is not None and self._engine is not None:
            counts = self._engine.total()
            values |= model_values(self._loaded) | count_values(counts)
            reports.append(stall_status(counts, self.value_of('stall_s')))
        if abandoned := self.abandoned():
            reports.append((Level.WARN, f'abandoned inferences: {abandoned}, each keeps a thread and its '
                                        'model until the process ends'))
        if text := self.errors.text():
            reports.append((Level.ERROR, text))
        values |= {'abandoned_inferences': abandoned} | self.errors.values()
        return status(f'{self.get_fully_qualified_name()}: node', model, reports, values)
