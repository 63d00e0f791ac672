# SPDX-License-Identifier: Apache-2.0
"""QoS overrides: the parameters qos_overrides.<topic>.<subscription|publisher>.<policy>.

They are checked like the node's other parameters; rclpy applies those that are passed to it.
"""

from collections.abc import Set
from typing import TypeAlias

from rclpy.node import Node
from rclpy.qos import QoSPolicyKind
from rclpy.qos_overriding_options import QoSOverridingOptions

PREFIX = 'qos_overrides'
End: TypeAlias = tuple[str, str]
"""One end of a topic: its resolved name, and subscription or publisher."""


def qos_override_options(node: Node, topic: str, end: str) -> QoSOverridingOptions:
    """The options for rclpy's create_subscription and create_publisher: only overrides that were given.

    rclpy declares a parameter for each policy in the options, and its first value would then override
    image_qos.* at the next configure.

    Args:
        topic: as passed to rclpy.
        end: subscription or publisher.
    """
    policies = node.get_parameters_by_prefix(f'{PREFIX}.{node.resolve_topic_name(topic)}.{end}')
    return QoSOverridingOptions([QoSPolicyKind[policy.upper()] for policy in policies])


def warn_about_unused_overrides(node: Node, ends: Set[End]) -> None:
    """Log a warning for each override that is for none of the node's topics.

    Args:
        ends: the topic ends that can be overridden.
    """
    for name in node.get_parameters_by_prefix(PREFIX):
        topic, end, _ = name.rsplit('.', 2)
        if (topic, end) not in ends:
            known = ', '.join(sorted('.'.join(known) for known in ends))
            node.get_logger().warning(f'parameter {PREFIX}.{name}: ignored, expected {PREFIX}. and one of '
                                      f'{known}, after remapping')
