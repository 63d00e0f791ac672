# SPDX-License-Identifier: Apache-2.0
"""The node inside the test's process: real rclpy over real DDS, spun as main() spins it."""

from __future__ import annotations

import os
import threading
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from replaying import wait_for
from sensor_msgs.msg import Image
from tiny_bundle import tiny_bundle
from vision_msgs.msg import Classification

from shufflenet_ros.bundles.index import write_index
from shufflenet_ros.core.frame import Outputs
from shufflenet_ros.ros.node import ClassifyNode
from shufflenet_ros.ros.spin import spin_guarded

NAME = 'shufflenet'
# The next transition's label, by goal and present state.
ROUTES = {
    'unconfigured': {'inactive': 'cleanup', 'active': 'deactivate'},
    'inactive': {'unconfigured': 'configure', 'active': 'deactivate'},
    'active': {'unconfigured': 'configure', 'inactive': 'activate'},
    'finalized': dict.fromkeys(('unconfigured', 'inactive', 'active'), 'shutdown'),
}


@contextmanager
def ros_context() -> Iterator[Context]:
    """A context of its own, so that no test module disturbs another."""
    context = Context()
    context.init(domain_id=int(os.environ['ROS_DOMAIN_ID']))
    try:
        yield context
    finally:
        context.try_shutdown()


@contextmanager
def trusted_bundle(folder: Path) -> Iterator[Path]:
    """The tiny bundle in an indexed cache folder: configuring then needs no proof in a child process."""
    models = folder / 'shufflenet_ros' / 'models'
    models.mkdir(parents=True)
    model = tiny_bundle(models / 'tiny.onnx')
    write_index(models)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('XDG_CACHE_HOME', str(folder))
        yield model


def make_node(context: Context, model: Path, name: str = NAME, **overrides: Any) -> ClassifyNode:
    """The node, unconfigured; `__` in a keyword stands for a dot."""
    given = {'model': str(model)} | {key.replace('__', '.'): value for key, value in overrides.items()}
    return ClassifyNode(name, context=context, use_global_arguments=False,
                        parameter_overrides=[Parameter(key, value=value) for key, value in given.items()])


class Bench:
    """The node, its guarded spin in a thread, and an operator who calls and listens from outside."""

    def __init__(self, context: Context, model: Path, name: str = NAME, **overrides: Any) -> None:
        self.name, self.node = name, make_node(context, model, name, **overrides)
        self._closing = threading.Event()
        self._node_executor = SingleThreadedExecutor(context=context)
        self._node_executor.add_node(self.node)
        self._wake = self.node.create_guard_condition(lambda: None)
        self._spinning = threading.Thread(target=spin_guarded, daemon=True, args=(
            self._node_executor, self._closing.is_set, self.node.errors.note))
        self.operator = Node(f'operator_of_{name}', context=context, use_global_arguments=False)
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self.operator)
        self._clients: dict[str, Any] = {}
        self.heard: list[Any] = []
        self.operator.create_subscription(Classification, f'{name}/classification', self.heard.append, 100)
        self._images = self.operator.create_publisher(Image, 'image_raw', 10)
        self._stamp = 0
        self._spinning.start()

    @property
    def alive(self) -> bool:
        """Whether the guarded spin still goes round."""
        return self._spinning.is_alive()

    def call(self, kind: Any, name: str, request: Any, seconds: float = 10.0) -> Any:
        """The node's answer to a service call; fails without one."""
        return self.wait(self.send(kind, name, request), seconds)

    def wait(self, future: Any, seconds: float = 10.0) -> Any:
        """The answer to a call that was sent."""
        self._executor.spin_until_future_complete(future, timeout_sec=seconds)
        assert future.done(), f'no answer within {seconds:g} s'
        return future.result()

    def send(self, kind: Any, name: str, request: Any) -> Any:
        """Call a service without waiting for the answer."""
        if name not in self._clients:
            self._clients[name] = self.operator.create_client(kind, f'{self.name}/{name}')
            assert self._clients[name].wait_for_service(10.0)
        return self._clients[name].call_async(request)

    def state(self) -> str:
        """What get_state answers."""
        return str(self.call(GetState, 'get_state', GetState.Request()).current_state.label)

    def change(self, number: int = 0, label: str = '') -> bool:
        """Ask for a transition, by label where one is given; whether the node says that it worked."""
        request = ChangeState.Request(transition=Transition(id=number, label=label))
        return bool(self.call(ChangeState, 'change_state', request).success)

    def bring_to(self, state: str) -> None:
        """From any state but finalized into another, by legal transitions."""
        while (now := self.state()) != state:
            assert self.change(label=ROUTES[state][now])

    def listen(self, seconds: float = 0.0) -> None:
        """Take in what has come, for so long."""
        until = time.monotonic() + seconds
        while True:
            self._executor.spin_once(timeout_sec=0.01)
            if time.monotonic() >= until:
                return

    def show(self) -> int:
        """Send a red image; the stamp that tells its answer from others'."""
        self._stamp += 1
        pixels = np.zeros((32, 32, 3), np.uint8)
        pixels[..., 0] = 255
        message = Image(height=32, width=32, encoding='rgb8', step=96, data=array('B', pixels.tobytes()))
        message.header.stamp.sec = self._stamp
        self._images.publish(message)
        return self._stamp

    def wait_for_subscription(self) -> None:
        """Until the node and the operator have found each other's topics."""
        self.wait_for_subscription_alone()
        wait_for(self.answered, 'a first answer')

    def wait_for_subscription_alone(self) -> None:
        """The same of a node that answers nothing."""
        wait_for(lambda: self._images.get_subscription_count() and self.operator.count_publishers(
            f'{self.name}/classification'), 'the node to subscribe and to publish')

    def answered(self) -> bool:
        """Whether a new image gets its answer within a second."""
        stamp = self.show()
        until = time.monotonic() + 1.0
        while time.monotonic() < until:
            self.listen()
            for answer in self.heard:
                if answer.header.stamp.sec == stamp:
                    assert answer.results[0].class_id == 'red'
                    return True
        return False

    def close(self) -> None:
        """End spin and nodes."""
        self._closing.set()
        self._wake.trigger()
        self._spinning.join(5.0)
        self.node.close(5.0)
        for executor in (self._node_executor, self._executor):
            executor.shutdown()
        for node in (self.node, self.operator):
            node.destroy_node()


@contextmanager
def bench(context: Context, model: Path, name: str = NAME, **overrides: Any) -> Iterator[Bench]:
    """A Bench that is closed afterwards."""
    made = Bench(context, model, name, **overrides)
    try:
        yield made
    finally:
        made.close()


class SlowBackend:
    """The real backend, made to take its time."""

    def __init__(self, backend: Any, seconds: float) -> None:
        self._backend, self.seconds = backend, seconds
        self.name, self.provider = backend.name, backend.provider
        self.begun, self.ended = threading.Event(), threading.Event()

    def run(self, tensor: np.ndarray) -> Outputs:
        self.ended.clear()
        self.begun.set()
        time.sleep(self.seconds)
        outputs = self._backend.run(tensor)
        self.ended.set()
        return outputs


def slow_down(node: ClassifyNode, seconds: float) -> SlowBackend:
    """Let each inference of a configured node take so long."""
    assert node._processor is not None
    classifier = node._processor._classifier
    classifier.backend = slow = SlowBackend(classifier.backend, seconds)
    return slow


class StuckBackend:
    """A backend that does not come back from C code before it is reported to."""

    def __init__(self, backend: Any) -> None:
        self._backend, self.name, self.provider = backend, backend.name, backend.provider
        self.begun, self.go_on = threading.Event(), threading.Event()

    def run(self, tensor: np.ndarray) -> Outputs:
        self.begun.set()
        self.go_on.wait(120.0)
        return self._backend.run(tensor)


def block(node: ClassifyNode) -> StuckBackend:
    """Let the next inference of a configured node hang."""
    assert node._processor is not None
    classifier = node._processor._classifier
    classifier.backend = stuck = StuckBackend(classifier.backend)
    return stuck
