"""The demo's eyes on ROS: the node's state, its results, and what its diagnostics say."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rosgraph_msgs.msg import Clock
from vision_msgs.msg import Classification

from demo.report import NodeCounts, Result

NODE = '/shufflenet'
# Deep enough for every result of the demo: none is lost on this side however late the demo looks.
RELIABLE = QoSProfile(depth=5000, reliability=ReliabilityPolicy.RELIABLE)


def _nanoseconds(stamp: Any) -> int:
    return int(stamp.sec) * 10**9 + int(stamp.nanosec)


class Watcher:
    """A ROS node of the demo's own, spun by whoever calls `spin_until`.

    Attributes:
        results: every classification so far, in order of arrival.
        clock_ns: time of the replay's /clock -> system time of that message's publication. The replay
            publishes a message's time on /clock right before the message, so this tells when it went out.
        model: the name of the node's model, from its diagnostics.
        failure: what ails the node, from its diagnostics; '' while it is well.
    """

    def __init__(self) -> None:
        """Join the graph. Signals stay Python's own, so that Ctrl-C raises KeyboardInterrupt."""
        self.results: list[Result] = []
        self.clock_ns: dict[int, int] = {}
        self.model = self.failure = ''
        self.on_result: Callable[[Result], None] = lambda result: None
        self._camera: dict[str, str] = {}
        self._context = rclpy.Context()
        rclpy.init(context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        self.node = Node('shufflenet_demo', context=self._context)
        subscribe = self.node.create_subscription
        subscribe(Clock, '/clock', self._take_clock, RELIABLE)
        subscribe(Classification, f'{NODE}/classification', self._take_result, RELIABLE)
        subscribe(DiagnosticArray, '/diagnostics', self._take_diagnostics, RELIABLE)
        self._get_state: Any = self.node.create_client(GetState, f'{NODE}/get_state')
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)

    def __enter__(self) -> Watcher:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.shutdown(context=self._context)

    def spin_until(self, done: Callable[[], bool], timeout_s: float) -> bool:
        """Handle what comes in until `done()`; False if that took longer than timeout_s."""
        end = time.monotonic() + timeout_s
        while not done():
            if time.monotonic() > end:
                return False
            self._executor.spin_once(timeout_sec=0.05)
        return True

    def is_active(self) -> bool:
        """Ask the node for its lifecycle state; False too where it doesn't answer within a second."""
        if not self._get_state.service_is_ready():
            self._executor.spin_once(timeout_sec=0.1)
            return False
        future = self._get_state.call_async(GetState.Request())
        self.spin_until(future.done, 1.0)
        answer = future.result() if future.done() else None
        return answer is not None and answer.current_state.id == State.PRIMARY_STATE_ACTIVE

    def counts(self) -> NodeCounts | None:
        """What the node's last diagnostics say of its camera; None while they say nothing."""
        values = self._camera
        if not values:
            return None
        dropped = sum(int(value) for key, value in values.items() if key.startswith('dropped.'))
        return NodeCounts(received=int(values['received']), published=int(values['published']),
                          dropped=dropped, superseded=int(values['superseded']),
                          # empty before the first result
                          age_p50_ms=float(values['age_p50_ms'] or 'nan'),
                          age_p99_ms=float(values['age_p99_ms'] or 'nan'))

    def _take_clock(self, message: Clock, info: Mapping[str, Any]) -> None:
        self.clock_ns[_nanoseconds(message.clock)] = info['source_timestamp']

    def _take_result(self, message: Classification, info: Mapping[str, Any]) -> None:
        labels = tuple((result.class_id, result.score) for result in message.results)
        result = Result(_nanoseconds(message.header.stamp), labels, info['source_timestamp'])
        self.results.append(result)
        self.on_result(result)

    def _take_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if not status.name.startswith(NODE):
                continue
            values = {value.key: value.value for value in status.values}
            if 'age_p50_ms' in values:
                self._camera = values
            else:
                self.model = values.get('model', self.model)
                self.failure = status.message if status.level == DiagnosticStatus.ERROR else ''
