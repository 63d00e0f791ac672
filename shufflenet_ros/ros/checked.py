# SPDX-License-Identifier: Apache-2.0
"""A node that validates its parameters with parameters.py, at start and at run time."""

# Up to Jazzy, Parameter[...] fails when an annotation is evaluated.
from __future__ import annotations

import time
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

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

_RCLPY_PARAMETERS = ('use_sim_time', 'start_type_description_service')


class ValidatedParameters(Node):
    """Mixin for a node that was made with automatically_declare_parameters_from_overrides.

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
        self._warned = LogThrottle(time.monotonic)
        given = {name: p.value for name, p in self.get_parameters_by_prefix('').items()
                 if name not in _RCLPY_PARAMETERS}
        specs = dict(TABLE)
        for name in given:
            self.undeclare_parameter(name)
            if spec := spec_of(name):
                specs[name] = spec
            else:
                self.unknown_at_start.append(name)
        for spec in specs.values():
            value = spec.default
            if spec.name in given:
                try:
                    value = validate(spec.name, given[spec.name])
                except InvalidParameterError as error:
                    self.invalid_at_start[spec.name] = str(error)
            self.declare_parameter(spec.name, value, descriptor(spec), ignore_override=True)
        self._log_start_up_errors()

    def _log_start_up_errors(self) -> None:
        for name, text in self.invalid_at_start.items():
            spec = spec_of(name)
            fix = 'restart it with another value' if spec and spec.run_time == NEVER else (
                'set another value, then configure')
            self.get_logger().error(f'{text}. The node stays unconfigured: {fix}')
        for name in self.unknown_at_start:
            self.get_logger().warning(
                f'parameter {printable(name, 200)}: ignored, this node has no such parameter')

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
            more = self._warned.admit('rejected')  # one key, because names come from the network
            if more is not None:
                self.get_logger().warning(f'{error}' + (f' ({more} more not shown)' if more else ''))
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
