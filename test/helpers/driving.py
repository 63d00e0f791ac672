# SPDX-License-Identifier: Apache-2.0
"""Uses a running node from outside, as a camera, an operator and a monitor do."""

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
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import SetParameters
from rclpy.context import Context
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from replaying import Listener, node_arguments, process, wait_for
from sensor_msgs.msg import CompressedImage, Image

RELIABLE = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
BEST_EFFORT = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
RED, GREEN, BLUE, DARK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0)
OK, WARN, ERROR = 0, 1, 2


@dataclass(frozen=True)
class Status:
    """A DiagnosticStatus with its values by key."""

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

    def assert_all_counted(self) -> None:
        """Every received frame has ended in exactly one way, or is in flight."""
        ends = sum(map(self.count, ('published', 'superseded', 'in_flight'))) + sum(self.dropped.values())
        assert self.count('received') == ends, self.values


class Driver(Listener):
    """A camera, an operator and a monitor of one running node."""

    def __init__(self, name: str = '/shufflenet', context: Context | None = None) -> None:
        super().__init__(context, f'operator_of{name.replace("/", "_")}')
        self.name = name
        self._diagnostics = self.hear(DiagnosticArray, '/diagnostics')
        self._clients: dict[str, Any] = {}

    def statuses(self, part: str) -> list[Status]:
        """All statuses so far of `node`, `camera` or `camera <name>`."""
        return [Status(status.level[0], status.message, {v.key: v.value for v in status.values})
                for message in list(self._diagnostics) for status in message.status
                if status.name == f'{self.name}: {part}']

    def status_when(self, part: str, condition: Callable[[Status], bool], what: str) -> Status:
        """The latest status, once it meets the condition."""
        def latest() -> Status | None:
            found = self.statuses(part)
            return found[-1] if found and condition(found[-1]) else None
        try:
            return wait_for(latest, f'{what} in /diagnostics', 15.0)
        except AssertionError as error:
            raise AssertionError(f'{error}; the last status: {self.statuses(part)[-1:]}') from None

    def camera(self, topic: str = '/image_raw', kind: Any = Image, qos: QoSProfile = RELIABLE) -> Any:
        """A publisher that the node has subscribed to."""
        publisher = self.operator.create_publisher(kind, topic, qos)
        wait_for(publisher.get_subscription_count, f'a subscription to {topic}')
        return publisher

    def send(self, kind: Any, service: str, request: Any) -> Any:
        """Call a service without waiting for the response."""
        if service not in self._clients:
            self._clients[service] = self.operator.create_client(kind, f'{self.name}/{service}')
        wait_for(self._clients[service].service_is_ready, service)
        return self._clients[service].call_async(request)

    def wait(self, future: Any, seconds: float = 10.0) -> Any:
        """The response to a call that was sent."""
        done = threading.Event()
        future.add_done_callback(lambda _: done.set())
        assert done.wait(seconds), f'no response within {seconds:g} s'
        return future.result()

    def call(self, kind: Any, service: str, request: Any) -> Any:
        """The service's response."""
        return self.wait(self.send(kind, service, request))

    def state(self) -> str:
        """The lifecycle state; asks again, because a server may respond before it finds the client."""
        for _ in range(5):
            future = self.send(GetState, 'get_state', GetState.Request())
            try:
                return str(self.wait(future, 3.0).current_state.label)
            except AssertionError:
                continue
        raise AssertionError('no response of get_state')

    def change(self, number: int = 0, label: str = '') -> bool:
        """Request a transition by label, or by its id; whether it worked.

        It is requested once. A response that is sent before the server has found the client is lost.
        """
        service = 'change_state'
        if self._own_context and service not in self._clients:
            self._clients[service] = self.operator.create_client(ChangeState, f'{self.name}/{service}')
            self.state()
            time.sleep(0.5)
        request = ChangeState.Request(transition=Transition(id=number, label=label))
        return bool(self.call(ChangeState, service, request).success)

    def set(self, **parameters: Any) -> list[Any]:
        """Set parameters and return the results."""
        sent = [Parameter(name, value=value).to_parameter_msg() for name, value in parameters.items()]
        return self.call(SetParameters, 'set_parameters', SetParameters.Request(parameters=sent)).results


@contextmanager
def driver(name: str = '/shufflenet') -> Iterator[Driver]:
    """A Driver, closed afterwards."""
    made = Driver(name)
    try:
        yield made
    finally:
        made.close()


@contextmanager
def active_node(drive: Driver, log: Path, parameters: dict[str, Any],
                *ros_arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A node process, once it is active."""
    with process(node_arguments(parameters, *ros_arguments), log) as child:
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
    """Bytes in the type that rclpy accepts without checking each one."""
    return array('B', data)


def stamped(message: Any, stamp: tuple[int, int], frame_id: str = 'lens') -> Any:
    """The same message with another header."""
    message.header.stamp.sec, message.header.stamp.nanosec = stamp
    message.header.frame_id = frame_id
    return message


def stamp_of(message: Any) -> tuple[int, int]:
    """Seconds and nanoseconds of a message's stamp."""
    return message.header.stamp.sec, message.header.stamp.nanosec


class Stream:
    """A camera that sends the same image at a steady rate, from a thread, until closed."""

    def __init__(self, publisher: Any, message: Any, rate_hz: float) -> None:
        self._publisher, self._message, self._period = publisher, message, 1.0 / rate_hz
        self._closing = threading.Event()
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
            self._publisher.publish(stamped(self._message, divmod(time.time_ns(), 10**9)))
            due += self._period
