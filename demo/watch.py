"""The demo's eyes on ROS: the node's state, its results, and what its diagnostics say at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from vision_msgs.msg import Classification

from demo.report import Result

NODE = '/shufflenet'
# Deep enough for every result of the demo: none is lost on this side however late the demo looks.
RELIABLE = QoSProfile(depth=2000, reliability=ReliabilityPolicy.RELIABLE)


class Watcher:
    """A ROS node of the demo's own, spun by whoever calls `spin_until`.

    Attributes:
        results: every classification so far, in order of arrival.
        sent_at_ns: stamp -> system time of the image's publication; the replay fills it in.
        diagnostics: the values of the node's last /diagnostics message that speaks of its camera.
    """

    def __init__(self, on_result: Callable[[Result], None]):
        """Join the graph. Signals stay Python's own, so that Ctrl-C raises KeyboardInterrupt."""
        self._on_result = on_result
        self.results: list[Result] = []
        self.sent_at_ns: dict[int, int] = {}
        self.diagnostics: dict[str, str] = {}
        self._context = rclpy.Context()
        rclpy.init(context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        self.node = Node('shufflenet_demo', context=self._context)
        self.node.create_subscription(Classification, f'{NODE}/classification', self._take_result, RELIABLE)
        self.node.create_subscription(DiagnosticArray, '/diagnostics', self._take_diagnostics, RELIABLE)
        self._get_state = self.node.create_client(GetState, f'{NODE}/get_state')
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

    def _take_result(self, message: Classification, info: Mapping[str, Any]) -> None:
        stamp_ns = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        sent_ns = self.sent_at_ns.get(stamp_ns, info['source_timestamp'])
        result = Result(stamp_ns, tuple((r.class_id, r.score) for r in message.results),
                        (info['source_timestamp'] - sent_ns) / 1e9)
        self.results.append(result)
        self._on_result(result)

    def _take_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            values = {value.key: value.value for value in status.values}
            if 'received' in values:
                self.diagnostics = values
