# SPDX-License-Identifier: Apache-2.0
"""Mixin for a node: validates parameters with parameters.py, and limits the size of parameter requests."""

# Up to Jazzy, Parameter[...] and Service[...] fail when an annotation is evaluated.
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
from rclpy.parameter import Parameter
from rclpy.service import Service

from shufflenet_ros.core.text import printable
from shufflenet_ros.core.throttle import LogThrottle
from shufflenet_ros.ros.parameters import (
    NEVER,
    TABLE,
    InvalidParameterError,
    descriptor,
    spec_of,
    validate,
    validate_change,
)

MAX_NAMES = 100
_NAMES_FIELD = {SetParameters: 'parameters', SetParametersAtomically: 'parameters', GetParameters: 'names',
                GetParameterTypes: 'names', DescribeParameters: 'names', ListParameters: 'prefixes'}
_RCLPY_PARAMETERS = ('use_sim_time', 'start_type_description_service')


class ValidatedParameters(Node):
    """Mixin for a node that is made with automatically_declare_parameters_from_overrides.

    Attributes:
        state: the lifecycle state's name, which decides what may change.
        invalid_at_start: parameter -> what is wrong with its start-up value; the default is used until a
            valid value is set.
        unknown_at_start: names in the start-up file that this node does not know.
    """

    state: str
    invalid_at_start: dict[str, str]
    unknown_at_start: list[str]

    def declare_node_parameters(self) -> None:
        """Declare the table and the given QoS overrides, with their start-up values where these are valid."""
        self.invalid_at_start, self.unknown_at_start = {}, []
        self._throttle = LogThrottle(time.monotonic)
        given = {name: p.value for name, p in self.get_parameters_by_prefix('').items()
                 if name not in _RCLPY_PARAMETERS}
        specs = dict(TABLE)
        for name in given:
            self.undeclare_parameter(name)
            if spec := spec_of(name):
                specs[name] = spec
            else:
                self.unknown_at_start.append(name)
                self.get_logger().warning(
                    f'parameter {printable(name, 200)}: ignored, this node has no such parameter')
        for name, spec in specs.items():
            value = spec.default
            if name in given:
                try:
                    value = validate(name, given[name])
                except InvalidParameterError as error:
                    self.invalid_at_start[name] = str(error)
                    fix = ('restart it with another value' if spec.run_time == NEVER
                           else 'set another value, then configure')
                    self.get_logger().error(f'{error}. The node stays unconfigured: {fix}')
            self.declare_parameter(name, value, descriptor(spec), ignore_override=True)

    def value_of(self, name: str) -> Any:
        """The parameter's value in its Python type."""
        value = self.get_parameter(name).value
        return list(value) if TABLE[name].kind is list else value

    def set_parameters(self, parameter_list: list[Parameter[Any]]) -> list[SetParametersResult]:
        """Set one after the other; a rejected value leaves its parameter unchanged."""
        return [self.set_parameters_atomically([parameter]) for parameter in parameter_list]

    def set_parameters_atomically(self, parameter_list: list[Parameter[Any]]) -> SetParametersResult:
        """Set all or none."""
        try:
            accepted = [self._validated(parameter) for parameter in parameter_list]
        except InvalidParameterError as error:
            self._warn('rejected', str(error))  # one key, because names come from the network
            return SetParametersResult(successful=False, reason=str(error))
        result = super().set_parameters_atomically(accepted)
        if result.successful:
            for parameter in accepted:
                self.invalid_at_start.pop(parameter.name, None)
            self.parameters_changed()
        return result

    def _validated(self, parameter: Parameter[Any]) -> Parameter[Any]:
        name = parameter.name
        if name in _RCLPY_PARAMETERS:
            return parameter
        value = validate_change(name, parameter.value, self.state)
        if not self.has_parameter(name):
            raise InvalidParameterError(
                f'parameter {printable(name, 80)}: not declared, expected a QoS override that was given at '
                'start; set it in the parameter file and restart the node')
        return Parameter(name, value=value)

    def parameters_changed(self) -> None:
        """Called after each accepted change."""

    def limit_parameter_requests(self) -> None:
        """Make the parameter services reject requests of more than MAX_NAMES names at once.

        rclpy processes a request name by name in the executor's thread: one SetParameters of 20,000 names
        would delay images and all other requests for seconds. Set requests get the reason for each name. Get,
        describe and list requests get an empty response, as for unknown names in rclpy.
        """
        for service in self.services:
            if service.srv_type in _NAMES_FIELD:
                service.callback = self._limited(service)

    def _limited(self, service: Service[Any, Any]) -> Callable[[Any, Any], Any]:
        kind, respond, field = service.srv_type, service.callback, _NAMES_FIELD[service.srv_type]

        def respond_within_limit(request: Any, response: Any) -> Any:
            count = len(getattr(request, field))
            if count <= MAX_NAMES:
                return respond(request, response)
            reason = f'got {count} {field} in one request, expected at most {MAX_NAMES}: split it'
            self._warn(kind.__name__, f'{kind.__name__}: {reason}')
            rejected = SetParametersResult(successful=False, reason=reason)
            if kind is SetParameters:
                response.results = [rejected] * count
            elif kind is SetParametersAtomically:
                response.result = rejected
            return response
        return respond_within_limit

    def _warn(self, key: str, text: str) -> None:
        """Log at most one warning per key every 5 s."""
        if (more := self._throttle.admit(key)) is not None:
            self.get_logger().warning(text + (f' ({more} more not shown)' if more else ''))
