# SPDX-License-Identifier: Apache-2.0
"""Drives a real node process from outside, as a camera, an operator and a monitor do."""

from __future__ import annotations

import subprocess
import threading
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from replaying import NODE, Listener, process, wait_for
from sensor_msgs.msg import CompressedImage, Image

RELIABLE = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
BEST_EFFORT = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
RED, GREEN, BLUE, DARK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0)


@dataclass(frozen=True)
class Status:
    """One DiagnosticStatus, its values by key, and when it was heard."""

    level: int
    message: str
    values: dict[str, str]

    def count(self, key: str) -> int:
        """A counter."""
        return int(self.values[key])

    @property
    def dropped(self) -> dict[str, int]:
        """Reason -> frames, without those at 0."""
        found = {key.removeprefix('dropped.'): int(value) for key, value in self.values.items()
                 if key.startswith('dropped.')}
        return {reason: n for reason, n in found.items() if n}

    def assert_law(self) -> None:
        """Every received frame has ended in exactly one way, or is in flight."""
        ends = sum(map(self.count, ('published', 'superseded', 'in_flight'))) + sum(self.dropped.values())
        assert self.count('received') == ends, self.values


class Driver(Listener):
    """A camera, an operator and a monitor of one running node."""

    def __init__(self, node: str = '/shufflenet') -> None:
        super().__init__()
        self.name = node
        self._diagnostics = self.hear(DiagnosticArray, '/diagnostics')
        self._clients: dict[str, Any] = {}

    def statuses(self, part: str) -> list[Status]:
        """All that was said so far of `node`, `camera` or `camera <name>`."""
        return [Status(status.level[0], status.message, {v.key: v.value for v in status.values})
                for message in list(self._diagnostics) for status in message.status
                if status.name == f'{self.name}: {part}']

    def status_when(self, part: str, true: Callable[[Status], bool], what: str) -> Status:
        """The latest status once it is as wanted."""
        def latest() -> Status | None:
            found = self.statuses(part)
            return found[-1] if found and true(found[-1]) else None
        try:
            return wait_for(latest, f'{what} in /diagnostics', 15.0)
        except AssertionError as error:
            raise AssertionError(f'{error}; last said: {self.statuses(part)[-1:]}') from None

    def camera(self, topic: str = '/image_raw', kind: Any = Image, qos: QoSProfile = RELIABLE) -> Any:
        """A publisher that the node listens to."""
        publisher = self.node.create_publisher(kind, topic, qos)
        wait_for(publisher.get_subscription_count, f'a subscription to {topic}')
        return publisher

    def ask(self, kind: Any, service: str, request: Any) -> Any:
        """A future of the service's answer."""
        if service not in self._clients:
            self._clients[service] = self.node.create_client(kind, f'{self.name}/{service}')
        client = self._clients[service]
        wait_for(client.service_is_ready, service)
        return client.call_async(request)

    def call(self, kind: Any, service: str, request: Any) -> Any:
        """The service's answer."""
        future = self.ask(kind, service, request)
        wait_for(future.done, f'an answer of {service}', 10.0)
        return future.result()

    def state(self) -> str:
        """The lifecycle state's label. A server may answer before it has found the client: then ask again."""
        for _ in range(5):
            future = self.ask(GetState, 'get_state', GetState.Request())
            until = time.monotonic() + 3.0
            while time.monotonic() < until:
                if future.done():
                    return future.result().current_state.label
                time.sleep(0.01)
        raise AssertionError('no answer of get_state')

    def change_state(self, transition: int) -> bool:
        """Ask for a transition by its id, once: before the server knows the client its answer is lost."""
        if 'change_state' not in self._clients:
            self._clients['change_state'] = self.node.create_client(ChangeState, f'{self.name}/change_state')
            self.state()
            time.sleep(0.5)
        request = ChangeState.Request()
        request.transition.id = transition
        return self.call(ChangeState, 'change_state', request).success

    def set(self, **parameters: Any) -> list[Any]:
        """Set parameters; the verdicts."""
        sent = [Parameter(name, value=value).to_parameter_msg() for name, value in parameters.items()]
        return self.call(SetParameters, 'set_parameters', SetParameters.Request(parameters=sent)).results


@contextmanager
def driver(node: str = '/shufflenet') -> Iterator[Driver]:
    """A Driver, closed afterwards."""
    made = Driver(node)
    try:
        yield made
    finally:
        made.close()


def ros_arguments(parameters: dict[str, Any], *more: str) -> list[str]:
    """What starts the node with these parameters and its defaults."""
    words = [word for key, value in parameters.items() for word in ('-p', f'{key}:={value}')]
    return [*NODE, *words, *more]


@contextmanager
def active_node(drive: Driver, log: Path, parameters: dict[str, Any],
                *more: str) -> Iterator[subprocess.Popen[bytes]]:
    """A node process, once it is active."""
    with process(ros_arguments({'autostart': True} | parameters, *more), log) as child:
        try:
            wait_for(lambda: child.poll() is not None or drive.state() == 'active', 'the node to be active')
        except AssertionError as error:
            raise AssertionError(f'{error}:\n{log.read_text()}') from None
        assert child.poll() is None, log.read_text()
        yield child


def plain(color: Sequence[int], stamp: tuple[int, int] = (1, 0), frame_id: str = 'lens',
          size: tuple[int, int] = (8, 8)) -> Image:
    """An image of one color, (R, G, B)."""
    return image(np.full((*size, 3), color, np.uint8), 'rgb8', stamp, frame_id)


def image(pixels: np.ndarray, encoding: str, stamp: tuple[int, int] = (1, 0),
          frame_id: str = 'lens') -> Image:
    """(H, W, C) uint8 as a message."""
    message = Image(height=pixels.shape[0], width=pixels.shape[1], encoding=encoding,
                    step=pixels[0].nbytes, data=octets(pixels.tobytes()))
    return stamped(message, stamp, frame_id)


def compressed(data: bytes, stamp: tuple[int, int] = (1, 0), frame_id: str = 'lens') -> CompressedImage:
    """A file as a message."""
    return stamped(CompressedImage(format='jpeg', data=octets(data)), stamp, frame_id)


def octets(data: bytes) -> array[int]:
    """What rclpy takes without looking at each byte."""
    return array('B', data)


def stamped(message: Any, stamp: tuple[int, int], frame_id: str = 'lens') -> Any:
    """The same message with another header."""
    message.header.stamp.sec, message.header.stamp.nanosec = stamp
    message.header.frame_id = frame_id
    return message


class Stream:
    """A camera that sends the same image at a steady rate, from a thread, until closed."""

    def __init__(self, publisher: Any, message: Any, rate_hz: float) -> None:
        self._publisher, self._message, self._period = publisher, message, 1.0 / rate_hz
        self._closing = threading.Event()
        self.sent = 0
        self._thread = threading.Thread(target=self._send, daemon=True)

    def __enter__(self) -> Stream:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._thread.join()

    def _send(self) -> None:
        due = time.monotonic()
        while not self._closing.wait(max(0.0, due - time.monotonic())):
            self.sent += 1
            self._publisher.publish(stamped(self._message, divmod(time.time_ns(), 10**9)))
            due += self._period
