# SPDX-License-Identifier: Apache-2.0
"""`shufflenet-ros replay` by itself: bytes, timing, /clock, QoS, signals and errors."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rclpy.qos import ReliabilityPolicy
from replaying import COMMAND, process, replay, wait_for
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image

from shufflenet_ros.bags.reader import Bag
from shufflenet_ros.bags.writer import BagWriter
from shufflenet_ros.cli.main import main

FRAMES, PERIOD_NS, START_NS = 8, 100_000_000, 1_700_000_000_000_000_000


pytestmark = pytest.mark.usefixtures('own_domain')


@pytest.fixture(scope='module')
def bag(tmp_path_factory) -> Path:
    """Eight small raw and compressed frames, 10 a second, logged 3 ms after their stamps."""
    path = tmp_path_factory.mktemp('replay') / 'bag'
    with BagWriter(path) as writer:
        for i in range(FRAMES):
            stamp = START_NS + i * PERIOD_NS
            log = stamp + 3_000_000
            writer.image('/cam/image_raw', np.full((4, 6, 3), i, np.uint8), 'rgb8', stamp, 'lens', log)
            # Four bytes, because DDS pads what it carries to a multiple of four.
            writer.compressed('/cam/image_raw/compressed', bytes([i] * 4), 'jpeg', stamp, 'lens', log)
    return path


@pytest.fixture
def error(monkeypatch, capsys) -> Any:
    """The output on stderr of a replay in this process, whose signals are left alone; its status is 2."""
    def run(*arguments: str | Path) -> str:
        with pytest.raises(SystemExit) as ended:
            sys.exit(main(['replay', *map(str, arguments)]))
        assert ended.value.code == 2
        return capsys.readouterr().err
    monkeypatch.setattr('shufflenet_ros.ros.signals.StopSignals',
                        lambda: SimpleNamespace(stopped=lambda: False))
    return run


def test_the_bags_own_bytes_arrive_once_in_order_with_the_clock(listener, bag, tmp_path):
    raw = listener.hear(Image, '/renamed', raw=True)
    compressed = listener.hear(CompressedImage, '/cam/image_raw/compressed', raw=True)
    clock = listener.hear(Clock, '/clock')
    started = time.monotonic()
    output = replay(bag, tmp_path / 'log', '--remap', '/cam/image_raw:=/renamed',
                    '--wait-for-subscribers', '2', '--wait-for-clock', '--rate', '2', '--reliable')
    wait_for(lambda: len(raw) == len(compressed) == FRAMES, 'all frames')
    # Nothing may come before it is due, so this bound holds on any machine.
    assert time.monotonic() - started >= (FRAMES - 1) * PERIOD_NS / 1e9 / 2
    with Bag(bag) as opened:
        assert raw == [item.raw for item in opened.messages(['/cam/image_raw'])]
        assert compressed == [item.raw for item in opened.messages(['/cam/image_raw/compressed'])]
    times = [message.clock.sec * 10**9 + message.clock.nanosec for message in clock]
    logged = {START_NS + 3_000_000 + i * PERIOD_NS for i in range(FRAMES)}
    assert times == sorted(times)
    assert logged <= set(times) and max(times) == max(logged)
    assert len(times) > 3 * FRAMES, 'the clock stood still between messages'
    assert f'replayed {2 * FRAMES} messages on 2 topics' in output


def test_only_the_selected_topics_and_no_clock(listener, bag, tmp_path):
    raw = listener.hear(Image, '/cam/image_raw')
    compressed = listener.hear(CompressedImage, '/cam/image_raw/compressed')
    clock = listener.hear(Clock, '/clock')
    replay(bag, tmp_path / 'log', '--topics', '/cam/image_raw', '--no-clock', '--rate', '10',
           '--wait-for-subscribers', '1')
    wait_for(lambda: len(raw) == FRAMES, 'all frames')
    assert (compressed, clock) == ([], [])


@pytest.mark.parametrize(('flags', 'expected'), [
    ([], ReliabilityPolicy.RELIABLE), (['--best-effort'], ReliabilityPolicy.BEST_EFFORT)])
def test_delivery_is_reliable_unless_best_effort_is_requested(listener, bag, tmp_path, flags, expected):
    waiting = [*COMMAND, 'replay', str(bag), '--wait-for-subscribers', '1', '--no-clock', *flags]
    with process(waiting, tmp_path / 'log') as child:
        found = wait_for(lambda: listener.operator.get_publishers_info_by_topic('/cam/image_raw'), 'it')
        assert [info.qos_profile.reliability for info in found] == [expected]
        assert child.poll() is None, 'it did not wait for a subscriber'
    wait_for(lambda: not listener.operator.count_publishers('/cam/image_raw'), 'the publisher to end')


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_loop_cleanly(listener, bag, tmp_path, number):
    heard = listener.hear(Image, '/cam/image_raw')
    with process([*COMMAND, 'replay', str(bag), '--loop', '--rate', '5'], tmp_path / 'log') as child:
        wait_for(lambda: len(heard) > 2 * FRAMES, 'the third round')
        child.send_signal(number)
        assert child.wait(10.0) == 0
    output = (tmp_path / 'log').read_text()
    assert 'Traceback' not in output and 'replayed ' in output
    stamps = [message.header.stamp.nanosec for message in heard]
    assert stamps.index(0, 1) <= FRAMES, 'the second round begins where the first did'


def test_a_type_that_is_not_installed_is_skipped_and_reported(listener, tmp_path, error):
    types = get_typestore(Stores.LATEST)
    types.register(get_types_from_msg('int32 count', 'my_unknown_msgs/msg/Own'))
    with Writer(tmp_path / 'bag', version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        own = writer.add_connection('/own', 'my_unknown_msgs/msg/Own', typestore=types)
        image = writer.add_connection('/image', 'sensor_msgs/msg/CompressedImage', typestore=types)
        header = types.types['std_msgs/msg/Header'](types.types['builtin_interfaces/msg/Time'](1, 2), 'x')
        message = types.types['sensor_msgs/msg/CompressedImage'](header, 'jpeg', np.zeros(3, np.uint8))
        writer.write(own, 1, types.serialize_cdr(types.types['my_unknown_msgs/msg/Own'](1), own.msgtype))
        writer.write(image, 2, types.serialize_cdr(message, image.msgtype))
    heard = listener.hear(CompressedImage, '/image')
    output = replay(tmp_path / 'bag', tmp_path / 'log', '--wait-for-subscribers', '1')
    wait_for(lambda: heard, 'the image')
    assert '/own is skipped: my_unknown_msgs/msg/Own is not installed' in output
    assert 'no topic that can be published here' in error(tmp_path / 'bag', '--topics', '/own')


@pytest.mark.parametrize(('arguments', 'expected'), [
    (['none.bag'], 'none.bag does not exist'),
    (['cut.mcap'], 'mcap recover'),
    (['', '--topics', '/nope'], 'topic /nope: expected one of bag'),
    (['', '--remap', '/nope:=/b'], 'topic /nope: expected one of bag'),
    (['', '--remap', 'a=b'], "'a=b': expected /a:=/b"),
    (['', '--rate', '0'], "'0': expected a number in [0.001, 1000]"),
    (['', '--wait-for-subscribers', '1', '--wait-timeout', '0.2'], 'expected 1 on'),
    (['', '--wait-for-clock', '--wait-timeout', '0.2'], 'no subscription to /clock'),
    (['', '--wait-for-clock', '--no-clock'], 'omit one of them')])
def test_what_cannot_be_replayed_is_an_error(bag, tmp_path, error, arguments, expected):
    """The first argument is a file, or '' for the good bag."""
    file, *options = arguments
    (tmp_path / 'cut.mcap').write_bytes(next(bag.glob('*.mcap')).read_bytes()[:-50])
    assert expected in error(tmp_path / file if file else bag, *options)
