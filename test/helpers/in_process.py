# SPDX-License-Identifier: Apache-2.0
"""The node inside the test's process: real rclpy over real DDS, spun as main() spins it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from driving import RED, Driver, plain, stamp_of
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from replaying import wait_for
from sensor_msgs.msg import Image
from tiny_bundle import tiny_bundle
from vision_msgs.msg import Classification

from shufflenet_ros.bundles.index import write_index
from shufflenet_ros.core.frame import Outputs
from shufflenet_ros.ros.callback_errors import spin_guarded
from shufflenet_ros.ros.node import ClassifyNode

# The next transition's label, by goal and present state.
ROUTES = {
    'unconfigured': {'inactive': 'cleanup', 'active': 'deactivate'},
    'inactive': {'unconfigured': 'configure', 'active': 'deactivate'},
    'active': {'unconfigured': 'configure', 'inactive': 'activate'},
    'finalized': dict.fromkeys(('unconfigured', 'inactive', 'active'), 'shutdown'),
}


@contextmanager
def ros_context() -> Iterator[Context]:
    """A separate context, so that no test module disturbs another."""
    context = Context()
    context.init(domain_id=int(os.environ['ROS_DOMAIN_ID']))
    try:
        yield context
    finally:
        context.try_shutdown()


@contextmanager
def trusted_bundle(folder: Path) -> Iterator[Path]:
    """The tiny bundle in an indexed cache folder: configuring then needs no check in a child process."""
    models = folder / 'shufflenet_ros' / 'models'
    models.mkdir(parents=True)
    model = tiny_bundle(models / 'tiny.onnx')
    write_index(models)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('XDG_CACHE_HOME', str(folder))
        yield model


@contextmanager
def unspun_node(context: Context, *ros_arguments: str, name: str = 'shufflenet',
                **parameters: Any) -> Iterator[ClassifyNode]:
    """The node, unconfigured and not spun; `__` in a keyword stands for a dot."""
    node = ClassifyNode(
        name, context=context, use_global_arguments=False, cli_args=['--ros-args', *ros_arguments],
        parameter_overrides=[Parameter(key.replace('__', '.'), value=str(value) if key == 'model' else value)
                             for key, value in parameters.items()])
    try:
        yield node
    finally:
        node.close(3.0)
        node.destroy_node()


class Bench(Driver):
    """A node that is spun in a thread, and an operator who calls and listens from outside.

    Attributes:
        heard: the classifications so far.
    """

    def __init__(self, context: Context, node: ClassifyNode) -> None:
        super().__init__(node.get_fully_qualified_name(), context)
        self.node = node
        self._over = threading.Event()
        self._node_executor = SingleThreadedExecutor(context=context)
        self._node_executor.add_node(node)
        self._wake_node = node.create_guard_condition(lambda: None)
        self._spinning = threading.Thread(target=spin_guarded, daemon=True, args=(
            self._node_executor, self._over.is_set, node.errors.note))
        self.heard = self.hear(Classification, f'{self.name}/classification')
        self._stamp = 0
        self._spinning.start()

    @cached_property
    def _images(self) -> Any:
        """A publisher of images; a node that looks for topics with images finds it only if it is used."""
        return self.operator.create_publisher(Image, 'image_raw', 10)

    @property
    def alive(self) -> bool:
        """Whether the guarded spin still runs."""
        return self._spinning.is_alive()

    def bring_to(self, state: str) -> None:
        """Go from any state but finalized into another, by legal transitions."""
        while (now := self.state()) != state:
            assert self.change(label=ROUTES[state][now])

    def show(self) -> int:
        """Send a red image and return its stamp, which identifies its result."""
        self._stamp += 1
        self._images.publish(plain(RED, (self._stamp, 0), size=(32, 32)))
        return self._stamp

    @property
    def heard_stamps(self) -> set[int]:
        """The stamps of all results so far."""
        return {stamp_of(result)[0] for result in list(self.heard)}

    def wait_for_topics(self) -> None:
        """Return when the node and the operator have found each other's topics."""
        wait_for(lambda: self._images.get_subscription_count() and self.operator.count_publishers(
            f'{self.name}/classification'), 'the node to subscribe and to publish')

    def activate(self) -> None:
        """Bring the node to active and return when it publishes results."""
        self.bring_to('active')
        self.wait_for_topics()
        wait_for(self.gives_result, 'a first result')

    def gives_result(self) -> bool:
        """Whether a new image gets its result within a second."""
        stamp = self.show()
        until = time.monotonic() + 1.0
        while time.monotonic() < until:
            for result in list(self.heard):
                if stamp_of(result)[0] == stamp:
                    assert result.results[0].class_id == 'red'
                    return True
            time.sleep(0.002)
        return False

    def close(self) -> None:
        """End both spins and destroy the operator."""
        self._over.set()
        self._wake_node.trigger()
        self._spinning.join(5.0)
        self._node_executor.shutdown()
        super().close()


@contextmanager
def bench(context: Context, model: Path, *ros_arguments: str, **options: Any) -> Iterator[Bench]:
    """A Bench that is closed afterwards; options as for unspun_node."""
    with unspun_node(context, *ros_arguments, model=model, **options) as node:
        made = Bench(context, node)
        try:
            yield made
        finally:
            made.close()


class SlowBackend:
    """The real backend, but a run takes `seconds` longer, or waits until it is released.

    Attributes:
        begun: set when a run has begun.
        ended: set when a run has ended.
        released: a run waits for it.
    """

    def __init__(self, backend: Any) -> None:
        self._backend, self.name, self.provider = backend, backend.name, backend.provider
        self.seconds = 0.0
        self.begun, self.ended, self.released = threading.Event(), threading.Event(), threading.Event()
        self.released.set()

    def run(self, tensor: np.ndarray) -> Outputs:
        self.ended.clear()
        self.begun.set()
        time.sleep(self.seconds)
        self.released.wait(120.0)
        outputs: Outputs = self._backend.run(tensor)
        self.ended.set()
        return outputs


def slow_down(node: ClassifyNode) -> SlowBackend:
    """Replace the backend of a configured node by a SlowBackend."""
    assert node._processor is not None
    classifier = node._processor._classifier
    classifier.backend = slow = SlowBackend(classifier.backend)
    return slow
