# SPDX-License-Identifier: Apache-2.0
"""A bond with nav2's lifecycle manager, which learns from it that the process has died."""

from typing import Any

from rclpy.node import Node

try:
    from bondpy.bondpy import Bond
except ImportError:  # optional: only nav2 needs it
    Bond = None

HEARTBEAT_S, TIMEOUT_S = 0.25, 4.0


def start_bond(node: Node) -> Any:
    """Start a bond in the name of the node, as nav2's own nodes do; None without bondpy.

    If no manager answers within 10 s, bondpy gives up.
    """
    if Bond is None:
        return None
    bond = Bond(node, 'bond', node.get_name())
    bond.heartbeat_period, bond.heartbeat_timeout = HEARTBEAT_S, TIMEOUT_S
    bond.start()
    return bond


def break_bond(node: Node, bond: Any) -> None:
    """Tell the manager that the bond ends, so that it doesn't take that for a death."""
    bond.shutdown()
    # bondpy destroys them, but the node would keep them in its lists.
    node.destroy_subscription(bond.sub)
    node.destroy_publisher(bond.pub)
