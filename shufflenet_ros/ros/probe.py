# SPDX-License-Identifier: Apache-2.0
"""Looks at a running node from outside for some seconds: its state, its cameras' images, its diagnostics."""

import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.srv import GetState
from rcl_interfaces.srv import GetParameters
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSCompatibility, QoSProfile, ReliabilityPolicy, qos_check_compatible
from rclpy.subscription import Subscription
from rclpy.topic_endpoint_info import TopicEndpointInfo
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image

from shufflenet_ros.ros.cameras import COMPRESSED, FULL_NAME, IMAGE, MAX_LOOKUPS, SUFFIX, topics_with_images

LOOK_PERIOD_S = 0.25
DISCOVERY_S = 3.0  # a camera or the node's subscription may be found that much later
MAX_CAMERAS = 4  # every image that arrives costs CPU
_MARK, _MARK_TYPE = '/vision_info', 'vision_msgs/msg/VisionInfo'  # each classification node publishes it
_TYPES = {IMAGE: Image, COMPRESSED: CompressedImage}
_DEFAULT_QOS = QoSProfile(depth=30, reliability=ReliabilityPolicy.BEST_EFFORT)  # connects to all publishers


class CameraTopic:
    """An image topic that the node reads, or should read, and the images that arrived on it here.

    Attributes:
        reader: the node's subscription; None if it does not read the topic.
        arrivals: arrival (steady clock, seconds) and kind of each image, such as `640x480 rgb8`.
        message, arrived_ns: the last image, and its arrival on the system clock.
        subscribed: whether its images were looked at; of many cameras only some are.
    """

    def __init__(self, node: Node, topic: str, reader: TopicEndpointInfo | None):
        self._node, self.topic, self.reader = node, topic, reader
        self.arrivals: list[tuple[float, str]] = []
        self.message: Any = None
        self.arrived_ns = 0
        self._numbers: dict[bytes, list[int]] = {}
        self.subscribed = False

    @property
    def type_name(self) -> str:
        """The type that the node reads."""
        return self.reader.topic_type if self.reader else COMPRESSED if self.topic.endswith(SUFFIX) else IMAGE

    @property
    def requested_qos(self) -> QoSProfile:
        """The QoS of the node's subscription."""
        return self.reader.qos_profile if self.reader else _DEFAULT_QOS

    @property
    def publishers(self) -> list[TopicEndpointInfo]:
        """All that publish on the topic, with any type."""
        return self._node.get_publishers_info_by_topic(self.topic)

    @property
    def mismatch(self) -> str:
        """Why a publisher's QoS does not match, in ROS's words; '' if all do."""
        checks = [qos_check_compatible(info.qos_profile, self.requested_qos) for info in self.publishers]
        return next((why.strip('; ') for state, why in checks if state == QoSCompatibility.ERROR), '')

    @property
    def rate_hz(self) -> float:
        """Images per second; 0 below two."""
        elapsed = self.arrivals[-1][0] - self.arrivals[0][0] if self.arrivals else 0.0
        return (len(self.arrivals) - 1) / elapsed if elapsed else 0.0

    @property
    def lost(self) -> int:
        """Images between the first and the last that did not arrive; 0 if rclpy does not tell."""
        if b'' in self._numbers and len(self.publishers) > 1:
            return 0
        return sum(max(numbers) - min(numbers) + 1 - len(numbers) for numbers in self._numbers.values())

    def subscribe(self) -> None:
        """Subscribe once there is a publisher of the type."""
        if not self.subscribed and any(info.topic_type == self.type_name for info in self.publishers):
            numbered = hasattr(Subscription, 'CallbackType')  # not in the oldest rclpy
            self._node.create_subscription(_TYPES[self.type_name], self.topic,
                                           self._note_numbered if numbered else self._note, _DEFAULT_QOS)
            self.subscribed = True

    def _note(self, message: Any) -> None:
        kind = (f'{message.width}x{message.height} {message.encoding}' if hasattr(message, 'encoding')
                else f'format {message.format!r}')
        self.arrivals.append((time.monotonic(), kind))
        self.message, self.arrived_ns = message, time.time_ns()

    def _note_numbered(self, message: Any, info: Any) -> None:
        self._note(message)
        number, sender = info.get('publication_sequence_number'), info.get('publisher_gid')
        if number is not None:  # each publisher counts its own; Jazzy's rclpy does not say which it was
            self._numbers.setdefault(bytes(sender['data']) if sender else b'', []).append(number)


class Probe:
    """What was seen of a node. It subscribes and asks as soon as something is discovered.

    Attributes:
        node: the probe's own node.
        name: the full name of the probed one; '' if none was requested and none is there.
        nodes: full name of each classification node -> how many have this name.
        state: its lifecycle state; '' without a response.
        use_sim_time: its parameter; False without a response.
        requested: topics that it should read.
        cameras: topic -> what was seen, for those and the topics that it reads.
        reports: the name of a status, such as `camera front` -> the first and the last one.
        times: the different times on /clock, nanoseconds.
    """

    def __init__(self, node: Node, name: str, topics: Sequence[str]):
        self.node, self.name, self.state, self.use_sim_time = node, name, '', False
        self.nodes, self.times = Counter[str](), set[int]()
        self.requested = topics
        self.cameras = {topic: CameraTopic(node, topic, None) for topic in topics}
        self.reports: dict[str, tuple[DiagnosticStatus, DiagnosticStatus]] = {}
        self._clients: dict[str, Any] = {}
        node.create_subscription(DiagnosticArray, '/diagnostics', self._note_reports, _DEFAULT_QOS)
        node.create_subscription(Clock, '/clock', lambda message: self.times.add(
            message.clock.sec * 10**9 + message.clock.nanosec), _DEFAULT_QOS)

    def look(self) -> None:
        """Search the graph; ask the node, and subscribe to its images."""
        node = self.node
        graph = [(topic, kinds) for topic, kinds in node.get_topic_names_and_types()
                 if FULL_NAME.fullmatch(topic)]
        self.nodes = +Counter({topic.removesuffix(_MARK): node.count_publishers(topic)
                               for topic, kinds in graph if _MARK_TYPE in kinds and topic.endswith(_MARK)})
        self.name = self.name or min(self.nodes, default='')
        image_topics = [topic for topic, kinds in graph if not _TYPES.keys().isdisjoint(kinds)]
        for topic in image_topics[:MAX_LOOKUPS]:
            for info in node.get_subscriptions_info_by_topic(topic):
                if f'{info.node_namespace.rstrip("/")}/{info.node_name}' == self.name:
                    self.cameras.setdefault(topic, CameraTopic(node, topic, info)).reader = info
        for _, status in self.reports.values():  # the node's own words, if its subscription is not seen yet
            for topic in (value.value for value in status.values
                          if value.key == 'topic' and FULL_NAME.fullmatch(value.value)):
                self.cameras.setdefault(topic, CameraTopic(node, topic, None))
        for camera in list(self.cameras.values())[:MAX_CAMERAS]:
            camera.subscribe()
        # Again until there is a response: a first one is lost if the server has not found us yet.
        if self.name in self.nodes and not self.state:
            self._ask(GetState, 'get_state', GetState.Request(), self._note_state)
            self._ask(GetParameters, 'get_parameters', GetParameters.Request(names=['use_sim_time']),
                      self._note_sim_time)

    def _ask(self, kind: Any, service: str, request: Any, note: Any) -> None:
        if service not in self._clients:
            self._clients[service] = self.node.create_client(kind, f'{self.name}/{service}')
        if self._clients[service].service_is_ready():
            self._clients[service].call_async(request).add_done_callback(lambda done: note(done.result()))

    def _note_state(self, response: Any) -> None:
        self.state = response.current_state.label

    def _note_sim_time(self, response: Any) -> None:
        self.use_sim_time = any(value.bool_value for value in response.values)

    def _note_reports(self, message: DiagnosticArray) -> None:
        for status in message.status:
            name, _, part = status.name.partition(': ')
            if name == self.name:
                self.reports[part] = (self.reports.get(part, (status, status))[0], status)

    def other_images(self, topic: str = '', type_name: str = IMAGE) -> list[str]:
        """Other topics with images, those of this type first; some of many."""
        return list(islice(topics_with_images(self.node, self.name, topic, type_name), 5))


@contextmanager
def probe_node(context: Context, name: str, topics: Sequence[str], seconds: float,
               limit_s: float) -> Iterator[Probe]:
    """Look at a node for some seconds after it was discovered, then yield what was seen.

    Args:
        name: its full name; '' for the only one, or the first of several.
        topics: image topics that it should read, beside those that it reads.
        limit_s: of all; discovery takes up to DISCOVERY_S, and again if an end of a topic is missing.
    """
    node = Node('shufflenet_doctor', context=context, use_global_arguments=False, enable_rosout=False,
                start_parameter_services=False)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    try:
        seen, heard_at, discovered = Probe(node, name, topics), math.inf, False
        until = time.monotonic() + limit_s - seconds
        while (now := time.monotonic()) < until:
            seen.look()
            heard_at = min(heard_at, now) if seen.reports else math.inf
            missing = any(not (camera.reader and camera.publishers) for camera in seen.cameras.values())
            if not discovered and now >= heard_at + DISCOVERY_S * missing:
                discovered, until = True, now + seconds
            while time.monotonic() < min(until, now + LOOK_PERIOD_S):
                executor.spin_once(timeout_sec=0.05)
        yield seen
    finally:
        executor.shutdown()
        node.destroy_node()
