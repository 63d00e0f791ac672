# SPDX-License-Identifier: Apache-2.0
"""A camera at run time: its topics and their QoS, and hints for when no image arrives.

QoS overrides are the parameters qos_overrides.<topic>.<subscription|publisher>.<policy>. They are validated
like the node's other parameters; rclpy applies those that are passed to it.
"""

import math
import re
import time
from collections.abc import Callable, Iterable, Iterator, Set
from copy import copy
from itertools import islice
from typing import Any

from rclpy.lifecycle import LifecycleNode
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSPolicyKind, QoSProfile, ReliabilityPolicy, qos_policy_name_from_kind
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription
from rclpy.topic_endpoint_info import TopicEndpointInfo
from sensor_msgs.msg import CompressedImage, Image
from shufflenet_ros_msgs.msg import Embedding
from vision_msgs.msg import Classification

from shufflenet_ros.core.stats import StageStats
from shufflenet_ros.core.text import printable
from shufflenet_ros.core.watch import RateWatch

try:
    from rclpy.event_handler import QoSRequestedIncompatibleQoSInfo, SubscriptionEventCallbacks
except ImportError:  # Humble's name for it
    from rclpy.qos_event import QoSRequestedIncompatibleQoSInfo, SubscriptionEventCallbacks

IMAGE, COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
SUFFIX = '/compressed'
MAX_TOPICS_SHOWN, MAX_LOOKUPS = 5, 50
HINT_PERIOD_S = 3.0
_OVERRIDES = 'qos_overrides'
FULL_NAME = re.compile(r'(/[A-Za-z_][A-Za-z0-9_]{0,200})+')
RESULT_QOS = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)


class Camera:
    """A camera: its publishers, its subscription while the node is active, and counters of bad input.

    Attributes:
        name: the camera's name, '' for a single one.
        title: the name in logs and diagnostics.
        topic: the resolved image topic.
        watch: checks that images arrive.
        stats: the processing times.
        endpoints: <topic>.<subscription|publisher> of each topic; QoS overrides can be given for these.
        incompatible: QoS policies that a publisher of the topic does not offer as requested.
    """

    def __init__(self, node: LifecycleNode, name: str, transport: str, image_qos: QoSProfile,
                 watch: RateWatch):
        self._node, self.name, self.watch = node, name, watch
        self.title = f'camera {name}' if name else 'camera'
        self.stats = StageStats()
        self.bad_stamps = self.duplicate_stamps = self.damaged = 0
        self.last_stamp: tuple[int, int] | None = None
        self._qos = copy(image_qos)  # rclpy writes overrides into it, and all cameras share image_qos
        # A remapping of image_raw does not apply to image_raw/compressed: resolve first, then append.
        self.topic = node.resolve_topic_name(f'{name}/image_raw' if name else 'image_raw')
        self._type, self._type_name = Image, IMAGE
        if transport == 'compressed':
            self.topic += SUFFIX
            self._type, self._type_name = CompressedImage, COMPRESSED
        self.endpoints = {f'{self.topic}.subscription'}
        prefix = f'~/{name}' if name else '~'
        self.classification = self._publisher(Classification, f'{prefix}/classification')
        self.embedding = self._publisher(Embedding, f'{prefix}/embedding')
        self.debug_image = self._publisher(Image, f'{prefix}/debug_image')
        self.incompatible: set[str] = set()
        self._hint, self._hint_at = '', -math.inf
        self._subscription: Subscription[Any] | None = None

    def _publisher(self, kind: type, topic: str) -> 'Publisher[Any]':
        endpoint = f'{self._node.resolve_topic_name(topic)}.publisher'
        self.endpoints.add(endpoint)
        return self._node.create_publisher(
            kind, topic, copy(RESULT_QOS), qos_overriding_options=self._given_overrides(endpoint))

    def _given_overrides(self, endpoint: str) -> QoSOverridingOptions:
        """Options with only the policies that were given at start.

        rclpy declares a parameter for each policy in the options, and its first value would then override
        image_qos.* at the next configure.
        """
        policies = self._node.get_parameters_by_prefix(f'{_OVERRIDES}.{endpoint}')
        return QoSOverridingOptions([QoSPolicyKind[policy.upper()] for policy in policies])

    def subscribe(self, receive: Callable[[str, Any], None]) -> None:
        """Call receive(camera, message) for each image."""
        self.incompatible.clear()
        self._subscription = self._node.create_subscription(
            self._type, self.topic, lambda message: receive(self.name, message), self._qos,
            event_callbacks=SubscriptionEventCallbacks(incompatible_qos=self._note_incompatible),
            qos_overriding_options=self._given_overrides(f'{self.topic}.subscription'))

    def unsubscribe(self) -> None:
        """Stop receiving."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None

    def destroy(self) -> None:
        """Destroy subscription and publishers."""
        self.unsubscribe()
        for publisher in (self.classification, self.embedding, self.debug_image):
            self._node.destroy_publisher(publisher)

    def _note_incompatible(self, event: QoSRequestedIncompatibleQoSInfo) -> None:
        policy = qos_policy_name_from_kind(event.last_policy_kind)
        if policy not in self.incompatible:
            self.incompatible.add(policy)
            offered = qos_words(self.publishers()) or 'nothing that this node can see'
            self._node.get_logger().error(
                f"{self.topic}: a publisher's {policy} policy is incompatible with {self.requested_qos}; "
                f'it offers {offered}. Nothing arrives from it: set image_qos.* or its qos_overrides to '
                'match, or change the camera')

    @property
    def requested_qos(self) -> str:
        """The QoS that the subscription requests, in words."""
        return f'{self._qos.reliability.name} {self._qos.durability.name} depth {self._qos.depth}'

    def publishers(self) -> list[TopicEndpointInfo]:
        """The publishers of this topic that the node has discovered."""
        return self._node.get_publishers_info_by_topic(self.topic)

    def silence_hint(self) -> str:
        """Why no image may arrive, and what to do. Cached for 3 s, because it searches the ROS graph."""
        now = time.monotonic()
        if now - self._hint_at > HINT_PERIOD_S:
            self._hint, self._hint_at = printable(self._explain_silence(), 1000), now
        return self._hint

    def _explain_silence(self) -> str:
        publishers = self.publishers()
        if not publishers:
            hint = 'no publisher' + (self._other_topics() or (
                ': is the camera driver running, in this ROS_DOMAIN_ID, and is image_raw remapped to it?'))
        elif self.incompatible:
            policies = ' and '.join(sorted(self.incompatible))
            hint = f'the {policies} policy does not match: set image_qos.* or its qos_overrides'
        elif all(info.topic_type != self._type_name for info in publishers):
            hint = f'they publish {publishers[0].topic_type}, expected {self._type_name}' + (
                self._other_topics() or '; no topic here has images that this node can read')
        else:
            hint = ('publishers match but nothing arrives: large best-effort images need bigger '
                    'shared-memory segments, see config/fastdds_large_images.xml')
        offers = f' offering {qos_words(publishers)}' if publishers else ''
        return f'{self.topic}: {len(publishers)} publisher(s){offers}; requested {self.requested_qos}; {hint}'

    def _other_topics(self) -> str:
        """Other topics with images, and what to type to read the first; '' without any."""
        found = list(islice(topics_with_images(
            self._node, self._node.get_fully_qualified_name(), self.topic, self._type_name),
            MAX_TOPICS_SHOWN + 1))
        if not found:
            return ''
        shown, more = ', '.join(found[:MAX_TOPICS_SHOWN]), ' and more' * (len(found) > MAX_TOPICS_SHOWN)
        remedy = how_to_read(found[0], self.topic, self._type_name, self.name)
        return f'; images are on {shown}{more}: {remedy}'


def topics_with_images(node: Node, own: str, topic: str, type_name: str) -> Iterator[str]:
    """Published image topics that image_raw can be remapped to; those of this type first.

    Anybody can add to the graph, even names that are invalid in ROS, for which rclpy raises. Those are
    skipped, and at most MAX_LOOKUPS topics are searched for publishers.

    Args:
        own: full name of the classification node, whose own topics are left out.
        topic, type_name: what that node reads now.
    """
    graph = sorted(node.get_topic_names_and_types())
    candidates = [(name, kind) for kind in dict.fromkeys((type_name, IMAGE, COMPRESSED))
                  for name, kinds in graph
                  if kind in kinds and (kind == IMAGE or name.endswith(SUFFIX))
                  and name != topic and not name.startswith(f'{own}/') and FULL_NAME.fullmatch(name)]
    for name, kind in candidates[:MAX_LOOKUPS]:
        if any(info.topic_type == kind for info in node.get_publishers_info_by_topic(name)):
            yield name


def how_to_read(found: str, topic: str, type_name: str, camera: str) -> str:
    """How to make a node that reads the topic read `found` instead, for `ros2 launch` and `ros2 run`."""
    base, compressed = found.removesuffix(SUFFIX), found.endswith(SUFFIX)
    launch, run = [], []
    if compressed != (type_name == COMPRESSED):
        transport = f'image_transport:={"compressed" if compressed else "raw"}'
        launch.append(transport)
        run.append(f'-p {transport}')
    if base != topic.removesuffix(SUFFIX):
        remapped = f'{camera}/image_raw' if camera else 'image_raw'
        launch.append(f'image_topic:={base}')
        run.append(f'-r {remapped}:={base}')
    by_run = f'`ros2 run` with `--ros-args {" ".join(run)}`'
    # The launch file has one image topic for all cameras, relative to each.
    return by_run if camera else f'`ros2 launch` with `{" ".join(launch)}`, or {by_run}'


def warn_about_unused_overrides(node: Node, endpoints: Set[str]) -> None:
    """Log a warning for each QoS override that matches none of the endpoints."""
    for name in node.get_parameters_by_prefix(_OVERRIDES):
        if name.rsplit('.', 1)[0] not in endpoints:
            node.get_logger().warning(
                f'parameter {_OVERRIDES}.{name}: ignored, expected {_OVERRIDES}. and one of '
                f'{", ".join(sorted(endpoints))}, after remapping')


def qos_words(publishers: Iterable[TopicEndpointInfo]) -> str:
    """The reliability and durability that publishers offer, each combination once."""
    profiles = (info.qos_profile for info in publishers)
    return ', '.join(sorted({f'{qos.reliability.name} {qos.durability.name}' for qos in profiles}))
