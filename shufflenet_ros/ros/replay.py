# SPDX-License-Identifier: Apache-2.0
"""Publishes the messages of a bag over ROS 2, each when it is due."""

from __future__ import annotations

import importlib
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import rclpy
from builtin_interfaces.msg import Time
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rosgraph_msgs.msg import Clock

from shufflenet_ros.bags.errors import BagError
from shufflenet_ros.bags.reader import Bag, BagMessage, Topic
from shufflenet_ros.core.console import say
from shufflenet_ros.core.errors import ShuffleNetError

DEPTH = 100  # a reliable subscriber that is more messages behind loses some
CLOCK_PERIOD_S = 0.01
POLL_PERIOD_S = 0.02
SETTLE_S = 0.5  # a subscriber can find the publisher later than the publisher finds it
ACK_TIMEOUT_S = 10.0


class ReplayError(ShuffleNetError):
    """A bag that cannot be replayed as requested; the message says what is expected and what to do."""


@contextmanager
def replay_node() -> Iterator[Node]:
    """The ROS node of a replay; signals are left to the caller."""
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node('shufflenet_replay', start_parameter_services=False, enable_rosout=False)
    try:
        yield node
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


def message_class(msgtype: str) -> Any | None:
    """The Python class of sensor_msgs/msg/Image and the like, or None if it is not installed."""
    package, _, name = msgtype.partition('/msg/')
    try:
        return getattr(importlib.import_module(f'{package}.msg'), name, None)
    except ModuleNotFoundError:
        return None


@dataclass
class Player:
    """A bag with its publishers.

    Attributes:
        stopped: whether a signal came; then it publishes nothing more and stops waiting.
        rate: how many times faster than recorded.
        topics: those to publish; empty for all.
        remap: topic in the bag -> topic to publish.
        with_clock: publish /clock.
    """

    node: Node
    bag: Bag
    stopped: Callable[[], bool]
    rate: float = 1.0
    topics: Sequence[str] = ()
    remap: Mapping[str, str] = field(default_factory=dict)
    with_clock: bool = True
    reliable: bool = True
    sent: int = 0
    latest_s: float = 0.0
    publishers: Mapping[str, Publisher[Any]] = field(init=False)

    def __post_init__(self) -> None:
        known = {topic.name for topic in self.bag.topics}
        for name in (*self.topics, *self.remap):
            if name not in known:
                raise ReplayError(f'topic {name}: expected one of bag {self.bag.path}: {sorted(known)}')
        selected = [topic for topic in self.bag.topics if topic.name in (self.topics or known)]
        self.publishers = {topic.name: publisher for topic in selected
                           if (publisher := self._publisher(topic))}
        if not self.publishers:
            raise ReplayError(f'bag {self.bag.path} has no topic that can be published here: it has '
                              f'{[(topic.name, topic.type) for topic in selected]}; install their packages')
        self.clock = self.node.create_publisher(Clock, '/clock', 1) if self.with_clock else None

    def _publisher(self, topic: Topic) -> Publisher[Any] | None:
        cls = message_class(topic.type)
        if cls is None:
            say(f'{topic.name} is skipped: {topic.type} is not installed', to=sys.stderr)
            return None
        qos = QoSProfile(
            depth=DEPTH,
            reliability=ReliabilityPolicy.RELIABLE if self.reliable else ReliabilityPolicy.BEST_EFFORT,
            durability=DurabilityPolicy.TRANSIENT_LOCAL if topic.latched else DurabilityPolicy.VOLATILE)
        return self.node.create_publisher(cls, self.remap.get(topic.name, topic.name), qos)

    def wait_for_subscribers(self, count: int, timeout_s: float) -> None:
        """Wait until `count` subscriptions match, or a signal comes.

        Raises:
            ReplayError: too few matched within timeout_s.
        """
        def matched() -> int:
            return sum(publisher.get_subscription_count() for publisher in self.publishers.values())

        if not self._wait(lambda: matched() >= count, timeout_s):
            names = [publisher.topic_name for publisher in self.publishers.values()]
            raise ReplayError(f'{matched()} subscriptions matched within {timeout_s:g} s: expected {count} '
                              f'on {names}; check topic names, QoS and ROS_DOMAIN_ID')

    def wait_for_clock(self, timeout_s: float) -> None:
        """Wait until a subscription to /clock matches, or a signal comes.

        Raises:
            ReplayError: none matched within timeout_s, or /clock is not published.
        """
        clock = self.clock
        if clock is None:
            raise ReplayError('--wait-for-clock: got --no-clock too; omit one of them')
        if not self._wait(lambda: clock.get_subscription_count() > 0, timeout_s):
            raise ReplayError(f'no subscription to /clock within {timeout_s:g} s: '
                              'check use_sim_time and ROS_DOMAIN_ID')

    def _wait(self, done: Callable[[], bool], timeout_s: float) -> bool:
        """Whether it is done, or a signal came, within timeout_s."""
        until = time.monotonic() + timeout_s
        while not done() and not self.stopped():
            if time.monotonic() > until:
                return False
            time.sleep(POLL_PERIOD_S)
        return True

    def play(self) -> None:
        """Publish the bag once, each message when it is due.

        Each message is read and converted ahead of its time; the clock starts once the first one is ready.
        """
        start = math.nan
        for item, data in self._ready_messages():
            offset = item.log_ns / 1e9 / self.rate
            if math.isnan(start):
                start = time.monotonic() - offset
            due = start + offset
            if not self._wait_until(due, item.log_ns):
                return
            self._tick(item.log_ns)
            self.latest_s = max(self.latest_s, time.monotonic() - due)
            self.publishers[item.topic].publish(data)
            self.sent += 1

    def _ready_messages(self) -> Iterator[tuple[BagMessage, bytes]]:
        for item in self.bag.messages(list(self.publishers)):
            try:
                yield item, bytes(item.cdr())
            except BagError as error:
                say(f'skipped: {error}', to=sys.stderr)

    def _wait_until(self, due: float, log_ns: int) -> bool:
        """Sleep until a message is due, while /clock continues; False when a signal comes."""
        while not self.stopped():
            left = due - time.monotonic()
            if left <= 0:
                return True
            self._tick(log_ns - round(left * self.rate * 1e9))
            time.sleep(min(left, CLOCK_PERIOD_S))
        return False

    def _tick(self, now_ns: int) -> None:
        if self.clock:
            seconds, nanoseconds = divmod(now_ns, 1_000_000_000)
            self.clock.publish(Clock(clock=Time(sec=seconds, nanosec=nanoseconds)))

    def wait_for_acknowledgement(self) -> bool:
        """Whether every reliable subscriber has received everything; does not wait after a signal."""
        if not self.reliable or self.stopped():
            return True
        return all(publisher.wait_for_all_acked(Duration(seconds=ACK_TIMEOUT_S))
                   for publisher in self.publishers.values())

    def report(self) -> str:
        """How many messages were published, and the largest delay."""
        return (f'replayed {self.sent} messages on {len(self.publishers)} topics, '
                f'at most {self.latest_s * 1e3:.1f} ms late')
