"""QoS overrides: the parameters qos_overrides.<topic>.<subscription|publisher>.<policy>.

They are checked as the node's other parameters are; rclpy applies those that it is told of.
"""

from collections.abc import Set
from typing import TypeAlias

from rclpy.node import Node
from rclpy.qos import QoSPolicyKind
from rclpy.qos_overriding_options import QoSOverridingOptions

PREFIX = 'qos_overrides'
End: TypeAlias = tuple[str, str]
"""One end of a topic: its resolved name, and subscription or publisher."""


def overriding(node: Node, topic: str, end: str) -> QoSOverridingOptions:
    """What rclpy's create_subscription and create_publisher take, for the overrides that were given.

    rclpy would declare each policy that it is told of, and the value that it found first would win over
    image_qos.* at the next configure.

    Args:
        topic: as it is given to rclpy.
        end: subscription or publisher.
    """
    policies = node.get_parameters_by_prefix(f'{PREFIX}.{node.resolve_topic_name(topic)}.{end}')
    return QoSOverridingOptions([QoSPolicyKind[policy.upper()] for policy in policies])


def warn_of_idle_overrides(node: Node, ends: Set[End]) -> None:
    """Name the given overrides that are for none of the node's topics.

    Args:
        ends: those that can be overridden.
    """
    for name in node.get_parameters_by_prefix(PREFIX):
        topic, end, _ = name.rsplit('.', 2)
        if (topic, end) not in ends:
            known = ', '.join(sorted('.'.join(known) for known in ends))
            node.get_logger().warning(f'parameter {PREFIX}.{name}: ignored, expected {PREFIX}. and one of '
                                      f'{known}, after remapping')
