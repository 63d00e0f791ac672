# SPDX-License-Identifier: Apache-2.0
"""Processes of the node and of the replay, and a subscriber in this process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy

from shufflenet_ros.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
FULL = bool(os.environ.get('SHUFFLENET_TEST_FULL'))  # all sizes and combinations, as `make test-full` sets it
NODE = ('-m', 'shufflenet_ros.ros.main', '--ros-args')
COMMAND = ('-m', 'shufflenet_ros.cli')
DEEP = QoSProfile(depth=1000, reliability=ReliabilityPolicy.RELIABLE)
EVERY = {'frame_policy': 'every', 'queue_size': 1000, 'image_qos.reliability': 'reliable',
         'image_qos.depth': 1000}


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 30.0) -> Any:
    """The first true result of the condition; fails after this many seconds."""
    until = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < until, f'waited {seconds:g} s for {what}'
        time.sleep(0.005)
    return result


@contextmanager
def process(arguments: Sequence[str], log: Path, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A Python process whose output goes to a file; it is ended afterwards."""
    with log.open('wb') as out:
        child = subprocess.Popen([sys.executable, *arguments], stdout=out, stderr=subprocess.STDOUT,
                                 start_new_session=True, **{'cwd': ROOT} | options)
        try:
            yield child
        finally:
            for number in (signal.SIGINT, signal.SIGKILL):
                child.send_signal(number)
                try:
                    child.wait(5.0)
                    break
                except subprocess.TimeoutExpired:
                    continue


def node_arguments(parameters: dict[str, Any], *ros_arguments: str) -> list[str]:
    """The command line of a node process that becomes active, unless the parameters say otherwise."""
    given = {'autostart': True} | parameters
    return [*NODE, *(word for key, value in given.items() for word in ('-p', f'{key}:={value}')),
            *ros_arguments]


def replay(bag: Path, log: Path, *arguments: str) -> str:
    """Run `shufflenet-ros replay` to its end and return its output."""
    with process([*COMMAND, 'replay', str(bag), *arguments], log) as child:
        status = child.wait(60.0)
    assert status == 0, log.read_text()
    return log.read_text()


def offline(capsys: pytest.CaptureFixture[str], bags: Sequence[Path], model: str,
            *arguments: str) -> list[dict[str, Any]]:
    """The lines of `shufflenet-ros classify --json` for these bags."""
    capsys.readouterr()
    assert main(['classify', *map(str, bags), '--model', model, '--json', *arguments]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


class Listener:
    """A ROS node in this process, spun in a thread, that keeps the messages it receives.

    Attributes:
        operator: the node.
    """

    def __init__(self, context: Context | None = None, name: str = 'listener') -> None:
        """Use the given context, or create one."""
        self._own_context = None
        if context is None:
            self._own_context = context = Context()
            context.init(domain_id=int(os.environ['ROS_DOMAIN_ID']))
        self.operator = Node(name, context=context, use_global_arguments=False)
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self.operator)
        self._closing = threading.Event()
        self._wake = self.operator.create_guard_condition(lambda: None)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        while not self._closing.is_set():
            self._executor.spin_once(timeout_sec=0.1)

    def hear(self, kind: Any, topic: str, qos: QoSProfile = DEEP, raw: bool = False) -> list[Any]:
        """A list that grows with every message of a topic."""
        heard: list[Any] = []
        self.operator.create_subscription(kind, topic, heard.append, qos, raw=raw)
        return heard

    def wait_for_publisher(self, topic: str) -> None:
        """Return when the topic has a publisher."""
        wait_for(lambda: self.operator.count_publishers(topic), f'a publisher of {topic}')

    def close(self) -> None:
        """Stop and destroy the node."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._wake.trigger()
        self._thread.join(5.0)
        self._executor.shutdown()
        self.operator.destroy_node()
        if self._own_context is not None:
            self._own_context.try_shutdown()


def as_lines(heard: Sequence[Any]) -> list[dict[str, Any]]:
    """Classifications in the form of the lines of `classify --json`."""
    return [{'stamp_ns': message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec,
             'predictions': [{'name': result.class_id, 'score': result.score} for result in message.results]}
            for message in heard]


def assert_same_results(got: Sequence[dict[str, Any]], expected: Sequence[dict[str, Any]],
                        tolerance: float) -> None:
    """The same frames in the same order, each once, with the same predictions.

    Predictions whose scores differ by less than the tolerance may be swapped, also with one that is just
    below the end of the list.
    """
    assert [line['stamp_ns'] for line in got] == [line['stamp_ns'] for line in expected]
    for mine, theirs in zip(got, expected):
        scores = {prediction['name']: prediction['score'] for prediction in mine['predictions']}
        ordered = [prediction['score'] for prediction in theirs['predictions']]
        assert len(scores) == len(ordered)
        for prediction in theirs['predictions']:
            if prediction['name'] in scores:
                assert abs(scores[prediction['name']] - prediction['score']) <= tolerance, (mine, theirs)
            else:
                assert prediction['score'] - ordered[-1] <= tolerance, (mine, theirs)
        if ordered[0] - ordered[1] > 2 * tolerance:
            assert mine['predictions'][0]['name'] == theirs['predictions'][0]['name'], (mine, theirs)
