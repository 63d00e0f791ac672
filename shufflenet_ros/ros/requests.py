# SPDX-License-Identifier: Apache-2.0
"""Limits the size of parameter requests.

rclpy processes a request in the executor's thread, name by name: one SetParameters of 20,000 names would
delay images and all other requests for seconds.
"""

# Up to Jazzy, Service[...] fails when an annotation is evaluated.
from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rcl_interfaces.srv import (
    DescribeParameters,
    GetParameters,
    GetParameterTypes,
    ListParameters,
    SetParameters,
    SetParametersAtomically,
)
from rclpy.node import Node
from rclpy.service import Service

from shufflenet_ros.core.throttle import LogThrottle

MAX_NAMES = 100
_FIELDS = {SetParameters: 'parameters', SetParametersAtomically: 'parameters', GetParameters: 'names',
           GetParameterTypes: 'names', DescribeParameters: 'names', ListParameters: 'prefixes'}


def limit_parameter_requests(node: Node) -> None:
    """Make the node's parameter services reject requests of more than MAX_NAMES names at once.

    Set requests get the reason for each name. Get, describe and list requests get an empty response, as for
    unknown names in rclpy.
    """
    logs = LogThrottle(time.monotonic)
    for service in node.services:
        if service.srv_type in _FIELDS:
            service.callback = _limited(node, service, logs)


def _limited(node: Node, service: Service[Any, Any], logs: LogThrottle) -> Callable[[Any, Any], Any]:
    kind, inner = service.srv_type, service.callback

    def respond(request: Any, response: Any) -> Any:
        count = len(getattr(request, _FIELDS[kind]))
        if count <= MAX_NAMES:
            return inner(request, response)
        reason = f'got {count} {_FIELDS[kind]} in one request, expected at most {MAX_NAMES}: split it'
        if (more := logs.admit(kind)) is not None:
            node.get_logger().warning(f'{kind.__name__}: {reason}' + (f' ({more} more)' if more else ''))
        rejected = SetParametersResult(successful=False, reason=reason)
        if kind is SetParameters:
            response.results = [rejected] * count
        elif kind is SetParametersAtomically:
            response.result = rejected
        return response
    return respond
