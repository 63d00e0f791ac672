# SPDX-License-Identifier: Apache-2.0
"""A real node process, the real replay and a real subscriber, for the replay tests."""

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

from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy

ROOT = Path(__file__).resolve().parents[2]
NODE = ('-m', 'shufflenet_ros.ros.main', '--ros-args')
COMMAND = ('-m', 'shufflenet_ros.cli')
DEEP = QoSProfile(depth=1000, reliability=ReliabilityPolicy.RELIABLE)
EVERY = {'frame_policy': 'every', 'queue_size': 1000, 'image_qos.reliability': 'reliable',
         'image_qos.depth': 1000, 'autostart': 'true'}


def wait_for(said: Callable[[], Any], what: str, seconds: float = 30.0) -> Any:
    """The first true answer; fails after so long."""
    until = time.monotonic() + seconds
    while not (answer := said()):
        assert time.monotonic() < until, f'waited {seconds:g} s for {what}'
        time.sleep(0.02)
    return answer


@contextmanager
def process(arguments: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A child whose output goes to a file; it is gone afterwards whatever happened."""
    with log.open('wb') as out:
        child = subprocess.Popen([sys.executable, *arguments], stdout=out, stderr=subprocess.STDOUT, cwd=ROOT,
                                 start_new_session=True)
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


def node_arguments(model: str, remaps: dict[str, str], **parameters: Any) -> list[str]:
    """What starts the node with frame policy `every`, reliable."""
    settings = EVERY | {'model': model} | {key.replace('__', '.'): value for key, value in parameters.items()}
    words = [word for key, value in settings.items() for word in ('-p', f'{key}:={value}')]
    return [*NODE, *words, *(word for a, b in remaps.items() for word in ('-r', f'{a}:={b}'))]


def replay(bag: Path, log: Path, *arguments: str) -> str:
    """Run `shufflenet-ros replay` to its end; what it said."""
    with process([*COMMAND, 'replay', str(bag), *arguments], log) as child:
        status = child.wait(60.0)
    assert status == 0, log.read_text()
    return log.read_text()


def offline(bags: Sequence[Path], model: str, *arguments: str) -> list[dict[str, Any]]:
    """What `shufflenet-ros classify --json` says of bags."""
    command = [sys.executable, *COMMAND, 'classify', *map(str, bags), '--model', model, '--json', *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


class Listener:
    """A ROS node in this process that keeps what it hears."""

    def __init__(self) -> None:
        self._context = Context()
        self._context.init(domain_id=int(os.environ['ROS_DOMAIN_ID']))
        self.node = Node('listener', context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        while not self._closing.is_set():
            self._executor.spin_once(timeout_sec=0.1)

    def hear(self, kind: Any, topic: str, qos: QoSProfile = DEEP, raw: bool = False) -> list[Any]:
        """A list that grows with every message of a topic."""
        heard: list[Any] = []
        self.node.create_subscription(kind, topic, heard.append, qos, raw=raw)
        return heard

    def wait_for_publisher(self, topic: str) -> None:
        """Until somebody offers a topic."""
        wait_for(lambda: self.node.count_publishers(topic), f'a publisher of {topic}')

    def close(self) -> None:
        """End it."""
        self._closing.set()
        self._thread.join(5.0)
        self._executor.shutdown()
        self.node.destroy_node()
        self._context.try_shutdown()


def as_lines(heard: Sequence[Any]) -> list[dict[str, Any]]:
    """Classifications in the form of classify's lines."""
    return [{'stamp_ns': message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec,
             'predictions': [{'name': result.class_id, 'score': result.score} for result in message.results]}
            for message in heard]


def assert_same_answers(got: Sequence[dict[str, Any]], expected: Sequence[dict[str, Any]],
                        tolerance: float) -> None:
    """The same frames in the same order, each once, with the same predictions.

    Predictions whose scores are closer than the tolerance may change places, at the end of the list with the
    next one that is not listed.
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
