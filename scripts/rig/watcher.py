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
    """One classification, as received over DDS.

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
    """A ROS node that listens to the node under test while `spin_until` runs.

    Attributes:
        results: every classification so far, in order of arrival.
        clock_ns: a /clock message's time -> the system time of its publication. The replay publishes an
            image's time on /clock right before the image, so this is when the image was sent.
        state, model: the node's lifecycle state and the name of its model, from its diagnostics.
        failure: the node's error, from its diagnostics; '' without one.
    """

    def __init__(self) -> None:
        """Join the graph. Signals stay Python's own, so that Ctrl-C raises KeyboardInterrupt."""
        self.results: list[ReceivedResult] = []
        self.clock_ns: dict[int, int] = {}
        self.state = self.model = self.failure = ''
        self.on_result: Callable[[ReceivedResult], None] = lambda result: None
        self._camera: dict[str, str] = {}
        self._context = rclpy.Context()
        rclpy.init(context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        self.node = Node('shufflenet_watcher', context=self._context)
        subscribe = self.node.create_subscription
        # The clock first: of messages that wait together, an image's time is then known before its result.
        subscribe(Clock, '/clock', self._receive_clock, RELIABLE)
        subscribe(Classification, f'{NODE}/classification', self._receive_result, RELIABLE)
        subscribe(DiagnosticArray, '/diagnostics', self._receive_diagnostics, 10)
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

    def counts(self) -> NodeCounts | None:
        """Return the counters of the node's last diagnostics; None before the first."""
        values = self._camera
        if not values:
            return None
        dropped = sum(int(value) for key, value in values.items() if key.startswith('dropped.'))
        ages = {key: float(values[key]) if values[key] else math.nan for key in ('age_p50_ms', 'age_p99_ms')}
        return NodeCounts(int(values['received']), int(values['published']), dropped,
                          int(values['superseded']), **ages)

    def _receive_clock(self, message: Clock, info: Mapping[str, Any]) -> None:
        self.clock_ns[_nanoseconds(message.clock)] = info['source_timestamp']

    def _receive_result(self, message: Classification, info: Mapping[str, Any]) -> None:
        predictions = tuple((result.class_id, result.score) for result in message.results)
        result = ReceivedResult(_nanoseconds(message.header.stamp), predictions, info['source_timestamp'])
        self.results.append(result)
        self.on_result(result)

    def _receive_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            values = {value.key: value.value for value in status.values}
            if status.name == f'{NODE}: node':
                self.state, self.model = values['state'], values['model']
                self.failure = status.message if status.level == DiagnosticStatus.ERROR else ''
            elif status.name.startswith(f'{NODE}: camera'):
                self._camera = values


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
        watcher.spin_until(
            lambda: node.status is not None or watcher.failure != '' or watcher.state == 'active', START_S)
        if watcher.failure:
            raise ProcessError(f'the node is {watcher.failure}')
        node.check_running()
        if watcher.state != 'active':
            raise node.error(f'the node was not active after {START_S:g} s')
        yield node, watcher


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
    node.check_running()
    counts = watcher.counts()
    if counts is None:
        raise node.error('the node published no diagnostics of its camera')
    return counts
