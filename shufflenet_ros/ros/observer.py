# SPDX-License-Identifier: Apache-2.0
"""Watches a running node from another process: its diagnostics, and labels and images while somebody looks.

The node draws debug images only for subscribers. They arrive as bytes, and only those that are shown are
deserialized and encoded, so the others cost little here too.
"""

import threading
import time
from math import isfinite

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Image
from vision_msgs.msg import Classification

from shufflenet_ros.core.decode import decode
from shufflenet_ros.core.drawing import MAX_WIDTH
from shufflenet_ros.core.errors import ShuffleNetError
from shufflenet_ros.core.node_view import CameraView, NodeView, StatusView
from shufflenet_ros.core.opencv import cv2, swap_red_and_blue
from shufflenet_ros.core.reasons import FrameError
from shufflenet_ros.ros.callback_errors import CallbackErrors, spin_guarded
from shufflenet_ros.ros.cameras import FULL_NAME
from shufflenet_ros.ros.parameters import MAX_CAMERAS

GONE_S = 3.0  # the node publishes diagnostics every second
# Anybody on the network can publish on these topics.
MAX_LABELS, MAX_VALUES, MAX_TEXT, MAX_PIXELS = 10, 200, 1000, 4 * MAX_WIDTH**2
_JPEG_QUALITY = 80
_LATEST = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)  # the node need not send one again


class NodeNameError(ShuffleNetError):
    """Not the full name of a node."""


class _ViewedCamera:
    """Labels and images of one camera, from its creation to `close`; `image` is a number and a message."""

    def __init__(self, node: Node, topic: str, images: bool) -> None:
        self._node = node
        self._labels: tuple[tuple[str, float], ...] = ()
        self._frame_id = ''
        self._image_at: float | None = None
        self._image = self._jpeg = (0, b'')
        self._subscriptions = [node.create_subscription(
            Classification, f'{topic}/classification', self._on_labels, _LATEST)]
        if images:
            self._subscriptions.append(node.create_subscription(
                Image, f'{topic}/debug_image', self._on_image, _LATEST, raw=True))

    def close(self) -> None:
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)

    def view(self, name: str, status: StatusView) -> CameraView:
        age = None if self._image_at is None else time.monotonic() - self._image_at
        return CameraView(name, status, self._frame_id, self._labels, age)

    def jpeg(self, shown: int) -> tuple[int, bytes] | None:
        number, data = self._image
        if number == shown:
            return None
        if self._jpeg[0] != number:
            self._jpeg = number, _encode(data)
        return self._jpeg if self._jpeg[1] else None

    def _on_labels(self, message: Classification) -> None:
        self._frame_id = message.header.frame_id[:MAX_TEXT]
        self._labels = tuple((result.class_id[:MAX_TEXT], result.score if isfinite(result.score) else 0.0)
                             for result in message.results[:MAX_LABELS])

    def _on_image(self, data: bytes) -> None:
        self._image, self._image_at = (self._image[0] + 1, data), time.monotonic()


class Observer:
    """A ViewSource of one node, which runs in its own thread and context until `close`."""

    def __init__(self, name: str, images: bool) -> None:
        """Hear the diagnostics of the node with this full name.

        Args:
            images: False to hear only labels while active.

        Raises:
            NodeNameError: not a full name.
        """
        if not FULL_NAME.fullmatch(name):
            raise NodeNameError(f'node {name!r}: expected a name such as /shufflenet; see `ros2 node list`')
        self._name, self._images, self._active = name, images, False
        self._status: StatusView | None = None
        self._statuses: dict[str, StatusView] = {}  # of its cameras
        self._cameras: dict[str, _ViewedCamera] = {}
        self._heard_at = time.monotonic()
        self._context = Context()
        self._context.init(initialize_logging=False)  # so that no log file is needed; errors go to stderr
        self._node = Node('shufflenet_watch', context=self._context, use_global_arguments=False,
                          start_parameter_services=False, enable_rosout=False)
        self._node.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, 10)
        self._wake = self._node.create_guard_condition(self._subscribe)
        self._closing = threading.Event()
        executor = SingleThreadedExecutor(context=self._context)
        executor.add_node(self._node)
        self._thread = threading.Thread(target=spin_guarded, name='spin', daemon=True, args=(
            executor, self._closing.is_set, CallbackErrors(self._node.get_logger()).note))
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._closing.set()
        self._wake.trigger()
        self._thread.join(1.0)
        self._node.destroy_node()
        self._context.try_shutdown()

    def set_active(self, active: bool) -> None:
        """Subscribe to the cameras, or unsubscribe and forget what they sent."""
        self._active = active
        self._wake.trigger()

    def view(self) -> NodeView:
        """The present view."""
        silent, silence = time.monotonic() - self._heard_at, ''
        if silent > GONE_S:
            silence = f'{self._name} has been gone for {silent:.0f} s' if self._status else (
                f'nothing from {self._name} for {silent:.0f} s: is that its name, and its ROS_DOMAIN_ID?')
        cameras, statuses = self._cameras, list(self._statuses.items())
        return NodeView(self._name, self._status, silence, tuple(
            camera.view(name, status) if (camera := cameras.get(name)) else CameraView(name, status)
            for name, status in statuses))

    def image(self, camera: str, shown: int) -> tuple[int, bytes] | None:
        """Number and JPEG of the latest image, encoded in the caller's thread."""
        seen = self._cameras.get(camera)
        return seen.jpeg(shown) if seen else None

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        cameras: dict[str, StatusView] = {}
        for status in message.status:
            name, _, part = status.name.partition(': ')
            if name != self._name:
                continue
            self._heard_at = time.monotonic()
            if part == 'node':
                self._status = _status_view(status)
            elif part.startswith('camera') and FULL_NAME.fullmatch(self._topic(part[7:])):
                cameras[part[7:]] = _status_view(status)
        if cameras and len(cameras) <= MAX_CAMERAS:  # a node that is not active reports none; the last stay
            self._statuses = cameras
            self._subscribe()

    def _topic(self, camera: str) -> str:
        return f'{self._name}/{camera}'.rstrip('/')

    def _subscribe(self) -> None:
        """Have a _ViewedCamera for each camera while active. Runs only in the thread that spins."""
        wanted = self._statuses if self._active else {}
        for name in self._cameras.keys() - wanted.keys():
            self._cameras.pop(name).close()
        for name in wanted.keys() - self._cameras.keys():
            self._cameras[name] = _ViewedCamera(self._node, self._topic(name), self._images)


def _status_view(status: DiagnosticStatus) -> StatusView:
    values = {pair.key[:MAX_TEXT]: pair.value[:MAX_TEXT] for pair in status.values[:MAX_VALUES]}
    return StatusView(status.level[0], status.message[:MAX_TEXT], values)


def _encode(data: bytes) -> bytes:
    """The JPEG of a serialized Image; b'' if it is none."""
    try:
        image = decode(deserialize_message(data, Image), MAX_PIXELS)
        pixels = image.pixels if image.color == 'bgr' else swap_red_and_blue(image.pixels)
        return bytes(cv2.imencode('.jpg', pixels, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1])
    except (FrameError, RuntimeError, cv2.error):  # cv2.error: a side is too long for a JPEG
        return b''
