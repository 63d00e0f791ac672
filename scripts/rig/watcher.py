# SPDX-License-Identifier: Apache-2.0
"""Watch the running node over ROS: its state, its results and its diagnostics."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
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

from .processes import ChildProcess, ProcessError, dds_environment, node_command

NODE = '/shufflenet'
START_S = 30.0  # for a slow machine to load and verify the model
SETTLE_S = 10.0  # for the last results and the diagnostics that count them
# Deep enough for every result of a run, however late the watcher spins.
RELIABLE = QoSProfile(depth=5000, reliability=ReliabilityPolicy.RELIABLE)


@dataclass(frozen=True)
class ReceivedResult:
    """One classification as it came back over DDS.

    Attributes:
        stamp_ns: the header's stamp, which identifies the frame.
        predictions: (label, score), best first.
        published_ns: the system time of its publication, from DDS.
    """

    stamp_ns: int
    predictions: tuple[tuple[str, float], ...]
    published_ns: int


@dataclass(frozen=True)
class NodeCounts:
    """The node's own counters and ages, from /diagnostics.

    An age is publication minus arrival on the node's steady clock; NaN before the first result.
    """

    received: int
    published: int
    dropped: int
    superseded: int
    age_p50_ms: float
    age_p99_ms: float


def _nanoseconds(stamp: Any) -> int:
    return int(stamp.sec) * 10**9 + int(stamp.nanosec)


class Watcher:
    """A ROS node that listens to the node under test while somebody calls `spin_until`.

    Attributes:
        results: every classification so far, in order of arrival.
        clock_ns: a /clock message's time -> the system time of its publication. The replay publishes an
            image's time on /clock right before the image, so this is when the image was sent.
        model: the name of the node's model, from its diagnostics.
        failure: the node's error, from its diagnostics; '' without one.
    """

    def __init__(self) -> None:
        """Join the graph. Signals stay Python's own, so that Ctrl-C raises KeyboardInterrupt."""
        self.results: list[ReceivedResult] = []
        self.clock_ns: dict[int, int] = {}
        self.model = self.failure = ''
        self.on_result: Callable[[ReceivedResult], None] = lambda result: None
        self._camera: dict[str, str] = {}
        self._context = rclpy.Context()
        rclpy.init(context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        self.node = Node('shufflenet_watcher', context=self._context)
        subscribe = self.node.create_subscription
        subscribe(Clock, '/clock', self._take_clock, RELIABLE)
        subscribe(Classification, f'{NODE}/classification', self._take_result, RELIABLE)
        subscribe(DiagnosticArray, '/diagnostics', self._take_diagnostics, RELIABLE)
        self._get_state: Any = self.node.create_client(GetState, f'{NODE}/get_state')
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)

    def __enter__(self) -> Watcher:
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.shutdown(context=self._context)

    def spin_until(self, done: Callable[[], bool], timeout_s: float) -> bool:
        """Handle messages until `done()`; return False if that takes longer than timeout_s."""
        end = time.monotonic() + timeout_s
        while not done():
            if time.monotonic() > end:
                return False
            self._executor.spin_once(timeout_sec=0.05)
        return True

    def is_active(self) -> bool:
        """Ask the node for its lifecycle state; return False too if it doesn't respond within a second."""
        if not self._get_state.service_is_ready():
            self._executor.spin_once(timeout_sec=0.1)
            return False
        future = self._get_state.call_async(GetState.Request())
        self.spin_until(future.done, 1.0)
        response = future.result() if future.done() else None
        return response is not None and response.current_state.id == State.PRIMARY_STATE_ACTIVE

    def counts(self) -> NodeCounts | None:
        """Return the counters of the node's last diagnostics; None before the first."""
        values = self._camera
        if not values:
            return None
        dropped = sum(int(value) for key, value in values.items() if key.startswith('dropped.'))
        ages = {key: float(values[key]) if values[key] else math.nan for key in ('age_p50_ms', 'age_p99_ms')}
        return NodeCounts(int(values['received']), int(values['published']), dropped,
                          int(values['superseded']), **ages)

    def _take_clock(self, message: Clock, info: Mapping[str, Any]) -> None:
        self.clock_ns[_nanoseconds(message.clock)] = info['source_timestamp']

    def _take_result(self, message: Classification, info: Mapping[str, Any]) -> None:
        predictions = tuple((result.class_id, result.score) for result in message.results)
        result = ReceivedResult(_nanoseconds(message.header.stamp), predictions, info['source_timestamp'])
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


@contextmanager
def active_node(parameters: Mapping[str, str], image_topic: str, log: Path
                ) -> Iterator[tuple[ChildProcess, Watcher]]:
    """Run the node, and a watcher, in this process's new DDS environment; yield both once the node is active.

    Raises:
        ProcessError: the node reports an error, ends, or takes longer than START_S.
    """
    os.environ.update(dds_environment())
    command = node_command({**parameters, 'autostart': 'true'}, image_topic)
    with ChildProcess(command, log) as node, Watcher() as watcher:
        def started() -> bool:
            return (node.status is not None or watcher.failure != ''
                    or (watcher.model != '' and watcher.is_active()))

        in_time = watcher.spin_until(started, START_S)
        if watcher.failure:
            raise ProcessError(f'the node is {watcher.failure}')
        check_running(node)
        if not in_time:
            raise ProcessError(f'the node was not active after {START_S:g} s. Its log:\n{node.log_tail()}')
        yield node, watcher


def check_running(node: ChildProcess) -> None:
    """Raise ProcessError, with the node's log, if the node has ended."""
    if node.status is not None:
        raise ProcessError(f'the node ended with status {node.status}. Its log:\n{node.log_tail()}')


def settle(frames: int, node: ChildProcess, watcher: Watcher) -> NodeCounts:
    """Wait until the diagnostics count all frames and the last results are here; return the counters.

    Raises:
        ProcessError: the node ended, or its diagnostics have no counters.
    """
    def settled() -> bool:
        counts = watcher.counts()
        return (counts is not None and counts.received >= frames and len(watcher.results) >= counts.published
                and counts.received == counts.published + counts.dropped + counts.superseded)

    watcher.spin_until(lambda: node.status is not None or settled(), SETTLE_S)
    check_running(node)
    counts = watcher.counts()
    if counts is None:
        raise ProcessError(f'the node published no diagnostics of its camera. Its log:\n{node.log_tail()}')
    return counts
