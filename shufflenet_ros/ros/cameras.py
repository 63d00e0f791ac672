# SPDX-License-Identifier: Apache-2.0
"""One camera's topics: its images, its results, and hints for when no image arrives."""

import math
import re
import time
from collections.abc import Callable, Iterable, Iterator
from copy import copy
from itertools import islice
from typing import Any

from rclpy.lifecycle import LifecycleNode
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, ReliabilityPolicy, qos_policy_name_from_kind
from rclpy.subscription import Subscription
from rclpy.topic_endpoint_info import TopicEndpointInfo
from sensor_msgs.msg import CompressedImage, Image
from shufflenet_ros_msgs.msg import Embedding
from vision_msgs.msg import Classification

from shufflenet_ros.core.text import printable
from shufflenet_ros.ros.qos import End, qos_override_options

try:
    from rclpy.event_handler import QoSRequestedIncompatibleQoSInfo, SubscriptionEventCallbacks
except ImportError:  # Humble's name for it
    from rclpy.qos_event import QoSRequestedIncompatibleQoSInfo, SubscriptionEventCallbacks

IMAGE, COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
SUFFIX = '/compressed'
MAX_TOPICS_SHOWN, MAX_LOOKUPS = 5, 50
HINT_PERIOD_S = 3.0
_TOPIC = re.compile(r'(/[A-Za-z_][A-Za-z0-9_]{0,200})+')
RESULT_QOS = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)


class CameraTopics:
    """A camera's publishers, made at configure, and its subscription, which exists while the node is active.

    Attributes:
        name: the camera's name, '' for a single one.
        topic: the resolved image topic.
        incompatible: QoS policies that a publisher of the topic does not offer as requested.
    """

    def __init__(self, node: LifecycleNode, name: str, transport: str, image_qos: QoSProfile):
        # rclpy writes overrides into the given profile, which other topics share.
        self._node, self.name, self._qos = node, name, copy(image_qos)
        # A remapping of image_raw does not apply to image_raw/compressed: resolve first, then append.
        self.topic = node.resolve_topic_name(f'{name}/image_raw' if name else 'image_raw')
        self._type = Image
        if transport == 'compressed':
            self.topic, self._type = self.topic + SUFFIX, CompressedImage
        prefix = f'~/{name}' if name else '~'
        self.classification = self._publisher(Classification, f'{prefix}/classification')
        self.embedding = self._publisher(Embedding, f'{prefix}/embedding')
        self.debug_image = self._publisher(Image, f'{prefix}/debug_image')
        self.incompatible: set[str] = set()
        self._hint, self._hint_at = '', -math.inf
        self._subscription: Subscription[Any] | None = None

    def _publisher(self, kind: type, topic: str) -> 'Publisher[Any]':
        options = qos_override_options(self._node, topic, 'publisher')
        return self._node.create_publisher(kind, topic, copy(RESULT_QOS), qos_overriding_options=options)

    @property
    def ends(self) -> list[End]:
        """The topic ends that QoS overrides can be given for."""
        results = (self.classification, self.embedding, self.debug_image)
        return [(self.topic, 'subscription'), *((result.topic_name, 'publisher') for result in results)]

    def subscribe(self, receive: Callable[[str, Any], None]) -> None:
        """Call receive(camera, message) for each image."""
        events = SubscriptionEventCallbacks(incompatible_qos=self._note_incompatible)
        options = qos_override_options(self._node, self.topic, 'subscription')
        self.incompatible.clear()
        self._subscription = self._node.create_subscription(
            self._type, self.topic, lambda message: receive(self.name, message), self._qos,
            event_callbacks=events, qos_overriding_options=options)

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
            self._node.get_logger().error(
                f"{self.topic}: a publisher's {policy} policy is incompatible with {self.requested_qos}; "
                f'it offers {self._offered_qos()}. Nothing arrives from it: set image_qos.* or its '
                'qos_overrides to match, or change the camera')

    @property
    def requested_qos(self) -> str:
        """The QoS that the subscription requests, in words."""
        return f'{self._qos.reliability.name} {self._qos.durability.name} depth {self._qos.depth}'

    def publishers(self) -> list[TopicEndpointInfo]:
        """The publishers of this topic that the node has discovered."""
        return self._node.get_publishers_info_by_topic(self.topic)

    def _offered_qos(self) -> str:
        return _qos_words(self.publishers()) or 'nothing that this node can see'

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
        offers = f' offering {_qos_words(publishers)}' if publishers else ''
        return f'{self.topic}: {len(publishers)} publisher(s){offers}; requested {self.requested_qos}; {hint}'

    def _other_topics(self) -> str:
        """Other topics with images, and what to type to read the first; '' without any."""
        found = list(islice(self._image_topics(), MAX_TOPICS_SHOWN + 1))
        if not found:
            return ''
        shown, more = ', '.join(found[:MAX_TOPICS_SHOWN]), ' and more' * (len(found) > MAX_TOPICS_SHOWN)
        return f'; images are on {shown}{more}: {self._remedy(found[0])}'

    def _image_topics(self) -> Iterator[str]:
        """Published image topics that image_raw can be remapped to, without the node's own; our type first.

        Anybody can add to the graph, even names that are invalid in ROS, for which rclpy raises. Those are
        skipped, and at most MAX_LOOKUPS topics are searched for publishers.
        """
        node, own = self._node, self._node.get_fully_qualified_name() + '/'
        graph = sorted(node.get_topic_names_and_types())
        candidates = [(topic, kind) for kind in dict.fromkeys((self._type_name, IMAGE, COMPRESSED))
                   for topic, kinds in graph
                   if kind in kinds and (kind == IMAGE or topic.endswith(SUFFIX))
                   and topic != self.topic and not topic.startswith(own) and _TOPIC.fullmatch(topic)]
        for topic, kind in candidates[:MAX_LOOKUPS]:
            if any(info.topic_type == kind for info in node.get_publishers_info_by_topic(topic)):
                yield topic

    def _remedy(self, topic: str) -> str:
        """How to make the node read the topic, for `ros2 launch` and `ros2 run`."""
        compressed = topic.endswith(SUFFIX)
        base, own = topic.removesuffix(SUFFIX), self.topic.removesuffix(SUFFIX)
        launch, run = [], []
        if compressed != (self._type is CompressedImage):
            transport = f'image_transport:={"compressed" if compressed else "raw"}'
            launch.append(transport)
            run.append(f'-p {transport}')
        if base != own:
            remapped = f'{self.name}/image_raw' if self.name else 'image_raw'
            launch.append(f'image_topic:={base}')
            run.append(f'-r {remapped}:={base}')
        by_run = f'`ros2 run` with `--ros-args {" ".join(run)}`'
        # The launch file has one image topic for all cameras, relative to each.
        return by_run if self.name else f'`ros2 launch` with `{" ".join(launch)}`, or {by_run}'

    @property
    def _type_name(self) -> str:
        return COMPRESSED if self._type is CompressedImage else IMAGE


def _qos_words(publishers: Iterable[TopicEndpointInfo]) -> str:
    profiles = (info.qos_profile for info in publishers)
    return ', '.join(sorted({f'{qos.reliability.name} {qos.durability.name}' for qos in profiles}))
