"""Publish a bag (ROS 1, db3, mcap) over ROS 2 with its own timing and /clock.

ROS 2 bytes go out as they lie in the bag, ROS 1 messages are converted; header stamps are not touched.
A topic whose message package is not installed is left out, and said so.
"""

import argparse
import importlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping
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
from shufflenet_ros.ros.signals import StopSignals

DEPTH = 100  # messages that a slow reliable subscriber may be behind before it loses one
CLOCK_PERIOD_S = 0.01
ACK_TIMEOUT_S = 10.0


class ReplayError(ShuffleNetError):
    """A bag that cannot be replayed as asked; the message says what is expected and what to do."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the verb takes."""
    add = parser.add_argument
    add('bag', help='ROS 1 .bag, ROS 2 bag folder, .db3 or .mcap file')
    add('--rate', type=_rate, default=1.0, help='how many times faster than recorded (default: %(default)s)')
    add('--topics', nargs='+', metavar='TOPIC', help='only these (default: all)')
    add('--remap', nargs='+', action='extend', default=[], type=_remap, metavar='A:=B', help='publish A as B')
    add('--loop', action='store_true', help='begin again at the end; /clock and stamps then jump back')
    add('--clock', action=argparse.BooleanOptionalAction, default=True,
        help='publish the time of recording on /clock (default: yes)')
    qos = parser.add_mutually_exclusive_group()
    qos.add_argument('--reliable', action='store_true', default=True,
                     help='offer reliable delivery; best-effort subscribers match too (default)')
    qos.add_argument('--best-effort', action='store_false', dest='reliable', help='as most camera drivers do')
    add('--wait-for-subscribers', type=int, default=0, metavar='N',
        help='begin when N subscriptions match, counted over all topics (default: at once)')
    add('--wait-for-clock', action='store_true', help='begin when somebody listens to /clock, too')
    add('--wait-timeout', type=float, default=60.0, metavar='S',
        help='seconds after which waiting is given up (default: %(default)s)')


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0.001 <= rate <= 1000.0:
        raise argparse.ArgumentTypeError(f'{text!r}: expected a number in [0.001, 1000]')
    return rate


def _remap(text: str) -> tuple[str, str]:
    old, separator, new = text.partition(':=')
    if not (separator and old.startswith('/') and new.startswith('/')):
        raise argparse.ArgumentTypeError(f'{text!r}: expected /a:=/b, both names in full')
    return old, new


def run(args: argparse.Namespace) -> int:
    """Replay until the end of the bag, or until SIGINT or SIGTERM; the status is 0 either way.

    Raises:
        BagError: the bag cannot be opened, or is damaged at some message; those before it were published.
        ReplayError: no topic can be published, or too few subscriptions matched in time.
    """
    signals = StopSignals()
    with Bag(args.bag) as bag:
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        node = rclpy.create_node('shufflenet_replay', start_parameter_services=False, enable_rosout=False)
        try:
            player = Player(node, bag, args, signals.stopped)
            player.wait_for_subscribers(args.wait_for_subscribers, args.wait_timeout)
            if args.wait_for_clock:
                player.wait_for_clock(args.wait_timeout)
            started = time.monotonic()
            player.play()
            while args.loop and not signals.stopped():
                player.play()
            acknowledged = player.wait_for_acknowledgement()
            say(f'{player.report()} in {time.monotonic() - started:.1f} s', to=sys.stderr)
            if not acknowledged:
                say(f'not all acknowledged in {ACK_TIMEOUT_S:g} s: a subscriber is too slow', to=sys.stderr)
        finally:
            node.destroy_node()
            rclpy.try_shutdown()
    return 0


def message_class(msgtype: str) -> Any | None:
    """The Python class of sensor_msgs/msg/Image and the like, or None where it is not installed."""
    package, _, name = msgtype.split('/')
    try:
        return getattr(importlib.import_module(f'{package}.msg'), name, None)
    except ModuleNotFoundError:
        return None


@dataclass
class Player:
    """A bag with its publishers."""

    node: Node
    bag: Bag
    args: argparse.Namespace
    stopped: Callable[[], bool]
    sent: int = 0
    latest_s: float = 0.0
    publishers: Mapping[str, Publisher] = field(init=False)

    def __post_init__(self) -> None:
        known = {topic.name for topic in self.bag.topics}
        for name in [*(self.args.topics or []), *(old for old, _ in self.args.remap)]:
            if name not in known:
                raise ReplayError(f'topic {name}: bag {self.bag.path} has {sorted(known)}')
        asked = self.args.topics or known
        wanted = [topic for topic in self.bag.topics if topic.name in asked]
        made = {topic.name: self._publisher(topic) for topic in wanted}
        self.publishers = {name: publisher for name, publisher in made.items() if publisher}
        if not self.publishers:
            raise ReplayError(f'bag {self.bag.path} has no topic that can be published here: it has '
                              f'{[(topic.name, topic.type) for topic in wanted]}; install their packages')
        self.clock = self.node.create_publisher(Clock, '/clock', 1) if self.args.clock else None

    def _publisher(self, topic: Topic) -> Publisher | None:
        cls = message_class(topic.type)
        if cls is None:
            say(f'{topic.name} is left out: {topic.type} is not installed', to=sys.stderr)
            return None
        qos = QoSProfile(
            depth=DEPTH,
            reliability=ReliabilityPolicy.RELIABLE if self.args.reliable else ReliabilityPolicy.BEST_EFFORT,
            durability=DurabilityPolicy.TRANSIENT_LOCAL if topic.latched else DurabilityPolicy.VOLATILE)
        return self.node.create_publisher(cls, dict(self.args.remap).get(topic.name, topic.name), qos)

    def wait_for_subscribers(self, count: int, timeout_s: float) -> None:
        """Return when so many subscriptions match, or a signal comes.

        Raises:
            ReplayError: they did not within timeout_s.
        """
        until = time.monotonic() + timeout_s
        while (matched := sum(p.get_subscription_count() for p in self.publishers.values())) < count:
            if self.stopped():
                return
            if time.monotonic() > until:
                names = [publisher.topic_name for publisher in self.publishers.values()]
                raise ReplayError(f'{matched} subscriptions matched within {timeout_s:g} s: expected {count} '
                                  f'on {names}; check topic names, QoS and ROS_DOMAIN_ID')
            time.sleep(0.02)

    def wait_for_clock(self, timeout_s: float) -> None:
        """Return when a subscription of /clock matches, or a signal comes.

        Raises:
            ReplayError: none did within timeout_s, or /clock is not published.
        """
        if self.clock is None:
            raise ReplayError('--wait-for-clock: got --no-clock beside it; leave one of them out')
        until = time.monotonic() + timeout_s
        while not self.clock.get_subscription_count() and not self.stopped():
            if time.monotonic() > until:
                raise ReplayError(f'nobody listened to /clock within {timeout_s:g} s: '
                                  'check use_sim_time and ROS_DOMAIN_ID')
            time.sleep(0.02)

    def play(self) -> None:
        """Publish the bag once, each message when it is due.

        A message is read and converted before it is waited for, the first one before time begins.
        """
        start: float | None = None
        for item, data in self._ready_messages():
            if start is None:
                start = time.monotonic() - item.log_ns / 1e9 / self.args.rate
            due = start + item.log_ns / 1e9 / self.args.rate
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
        """Sleep, with /clock going on, until a message is due; False when a signal comes."""
        while not self.stopped():
            left = due - time.monotonic()
            if left <= 0:
                return True
            self._tick(log_ns - round(left * self.args.rate * 1e9))
            time.sleep(min(left, CLOCK_PERIOD_S))
        return False

    def _tick(self, now_ns: int) -> None:
        if self.clock:
            seconds, nanoseconds = divmod(now_ns, 1_000_000_000)
            self.clock.publish(Clock(clock=Time(sec=seconds, nanosec=nanoseconds)))

    def wait_for_acknowledgement(self) -> bool:
        """Whether every reliable subscriber has everything; nothing is waited for after a signal."""
        if not self.args.reliable or self.stopped():
            return True
        timeout = Duration(seconds=ACK_TIMEOUT_S)
        return all(publisher.wait_for_all_acked(timeout) for publisher in self.publishers.values())

    def report(self) -> str:
        """What was published, and how late the latest message was."""
        return (f'replayed {self.sent} messages on {len(self.publishers)} topics, '
                f'the latest {self.latest_s * 1e3:.1f} ms late')
