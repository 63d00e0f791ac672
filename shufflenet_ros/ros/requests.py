"""Parameter requests of a bounded size.

rclpy works a request off in the executor's thread, name by name: one SetParameters of 20,000 names would
keep images and all other requests waiting for seconds.
"""

# Jazzy's Service and older ones take no type argument when an annotation is evaluated.
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
    """Let the node's parameter services answer requests of more than MAX_NAMES names at once.

    To set is answered with the reason, a verdict for each name; to get, describe or list with nothing, as
    rclpy answers names that it doesn't know.
    """
    logs = LogThrottle(time.monotonic)
    for service in node.services:
        if service.srv_type in _FIELDS:
            service.callback = _limited(node, service, logs)


def _limited(node: Node, service: Service[Any, Any], logs: LogThrottle) -> Callable[[Any, Any], Any]:
    kind, inner = service.srv_type, service.callback

    def answer(request: Any, response: Any) -> Any:
        count = len(getattr(request, _FIELDS[kind]))
        if count <= MAX_NAMES:
            return inner(request, response)
        reason = f'got {count} {_FIELDS[kind]} in one request, expected at most {MAX_NAMES}: send several'
        if (more := logs.admit(kind)) is not None:
            node.get_logger().warning(f'{kind.__name__}: {reason}' + (f' ({more} more)' if more else ''))
        refused = SetParametersResult(successful=False, reason=reason)
        if kind is SetParameters:
            response.results = [refused] * count
        elif kind is SetParametersAtomically:
            response.result = refused
        return response
    return answer
