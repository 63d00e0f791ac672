# SPDX-License-Identifier: Apache-2.0
"""Publish a bag (ROS 1, db3, mcap) over ROS 2 with the recorded timing and /clock.

ROS 2 messages are published as the bytes in the bag, and ROS 1 messages are converted. Header stamps are not
changed. A topic whose message package is not installed is skipped and reported.
"""

import argparse
import sys
import time

from shufflenet_ros.bags.reader import Bag
from shufflenet_ros.cli.options import number
from shufflenet_ros.core.console import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add = parser.add_argument
    add('bag', help='ROS 1 .bag, ROS 2 bag folder, .db3 or .mcap file')
    add('--rate', type=number(float, 0.001, 1000, 'a number in [0.001, 1000]'), default=1.0,
        help='speed relative to the recording (default: %(default)s)')
    add('--topics', nargs='+', metavar='TOPIC', help='topics to publish (default: all)')
    add('--remap', nargs='+', action='extend', default=[], type=_remap, metavar='A:=B', help='publish A as B')
    add('--loop', action='store_true', help='start again at the end; /clock and stamps then jump back')
    add('--clock', action=argparse.BooleanOptionalAction, default=True,
        help='publish the recorded time on /clock (default: yes)')
    qos = parser.add_mutually_exclusive_group()
    qos.add_argument('--reliable', action='store_true', default=True,
                     help='offer reliable delivery; best-effort subscribers match too (default)')
    qos.add_argument('--best-effort', action='store_false', dest='reliable',
                     help='offer best-effort delivery, as most camera drivers do')
    add('--wait-for-subscribers', type=int, default=0, metavar='N',
        help='start when N subscriptions match, counted over all topics (default: at once)')
    add('--wait-for-clock', action='store_true', help='also wait for a subscription to /clock')
    add('--wait-timeout', type=float, default=60.0, metavar='S',
        help='seconds to wait before giving up (default: %(default)s)')


def _remap(text: str) -> tuple[str, str]:
    old, separator, new = text.partition(':=')
    if not (separator and old.startswith('/') and new.startswith('/')):
        raise argparse.ArgumentTypeError(f'{text!r}: expected /a:=/b, both full names')
    return old, new


def run(args: argparse.Namespace) -> int:
    """Replay until the end of the bag, or until SIGINT or SIGTERM; the status is 0 either way.

    Raises:
        BagError: the bag cannot be opened, or a message is damaged; the messages before it were published.
        ReplayError: no topic can be published, or too few subscriptions matched in time.
    """
    # Imported here so that --help does not need ROS.
    from shufflenet_ros.ros.replay import ACK_TIMEOUT_S, SETTLE_S, Player, replay_node
    from shufflenet_ros.ros.signals import StopSignals

    signals = StopSignals()
    with Bag(args.bag) as bag, replay_node() as node:
        player = Player(node, bag, signals.stopped, rate=args.rate, topics=args.topics or (),
                        remap=dict(args.remap), with_clock=args.clock, reliable=args.reliable)
        player.wait_for_subscribers(args.wait_for_subscribers, args.wait_timeout)
        if args.wait_for_clock:
            player.wait_for_clock(args.wait_timeout)
        if args.wait_for_subscribers or args.wait_for_clock:
            time.sleep(SETTLE_S)  # otherwise the first message could be lost
        started = time.monotonic()
        player.play()
        while args.loop and not signals.stopped():
            player.play()
        acknowledged = player.wait_for_acknowledgement()
        say(f'{player.report()} in {time.monotonic() - started:.1f} s', to=sys.stderr)
        if not acknowledged:
            say(f'not all acknowledged in {ACK_TIMEOUT_S:g} s: a subscriber is too slow', to=sys.stderr)
    return 0
