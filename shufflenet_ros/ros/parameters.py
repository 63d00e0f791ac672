"""The node's parameters: one table, and one validator for start-up files and run-time changes.

rclpy checks types and ranges too, but at start-up it does so by raising in the constructor, and its
refusals name neither the cause nor the remedy. So every value passes `accept` first, whichever way it
comes, and the verdict is the same both ways.
"""

# Jazzy's Parameter and older ones take no type argument when an annotation is evaluated.
from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from shufflenet_ros.backends.candidates import AUTO, MAX_ACCURACY_LOSS
from shufflenet_ros.backends.locate import DEFAULT_MODEL
from shufflenet_ros.backends.variants import BACKENDS, PRECISIONS
from shufflenet_ros.core.opencv import IO_MAX_PIXELS
from shufflenet_ros.core.reasons import printable

MAX_CAMERAS = 64
MAX_TEXT = 4096
Value: TypeAlias = bool | int | float | str | Sequence[str]

_TYPES = {bool: Parameter.Type.BOOL, int: Parameter.Type.INTEGER, float: Parameter.Type.DOUBLE,
          str: Parameter.Type.STRING, list: Parameter.Type.STRING_ARRAY}
_TYPE_NAMES = {bool: 'true or false', int: 'an integer', float: 'a number', str: 'a text',
               list: 'a list of texts'}
_CAMERA_NAME = re.compile(r'[A-Za-z][A-Za-z0-9_]*(/[A-Za-z][A-Za-z0-9_]*)*')


class Refusal(ValueError):
    """A value that a parameter does not take: says the value, what is expected, what to do."""


@dataclass(frozen=True)
class Spec:
    """One parameter.

    Attributes:
        limits: lowest and highest allowed number.
        choices: allowed texts, where there are only some.
        live: may change while the node runs.
    """

    name: str
    default: Value
    description: str
    limits: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()
    live: bool = False

    @property
    def kind(self) -> type:
        """The Python type of its values."""
        return type(self.default)

    @property
    def choice_names(self) -> tuple[str, ...]:
        """The choices as people read them."""
        return tuple(choice or "''" for choice in self.choices)

    @property
    def expectation(self) -> str:
        """What the parameter takes, in words."""
        if self.choices:
            return ' or '.join(self.choice_names)
        words = _TYPE_NAMES[self.kind]
        if not self.limits:
            return words
        low, high = (self.kind(limit) for limit in self.limits)
        return f'{words} in [{low}, {high}]'


SPECS = (
    Spec('model', DEFAULT_MODEL, 'Bundle to run: a name that `shufflenet-ros models list` shows, or a path.'),
    Spec('model_card', '', "Card file for somebody else's ONNX; empty: the card inside or beside the model."),
    Spec('model_sha256', '', 'Expected SHA-256 of the model file, 64 hex digits; empty: not checked.'),
    Spec('backend', 'auto', 'What runs the model; auto: what is the fastest here.',
         choices=BACKENDS),
    Spec('precision', AUTO, 'Which variant of the bundle runs; auto: the fastest within max_accuracy_loss.',
         choices=(AUTO, *PRECISIONS)),
    Spec('max_accuracy_loss', MAX_ACCURACY_LOSS,
         'Points of top-1 that precision auto may cost, by the figures in the card.', limits=(0.0, 100.0)),
    Spec('provider', 'cpu',
         'Where onnxruntime runs it, such as cpu or cuda; auto: the best that works here.'),
    Spec('threads', 1, 'Threads for one inference; with more than 1, backend auto means onnxruntime.',
         limits=(1, 64)),
    Spec('cameras', [''], "Camera names: each is read from NAME/image_raw; ['']: one camera on image_raw."),
    Spec('image_transport', 'raw', 'Which topics to read: image_raw, or image_raw/compressed.',
         choices=('raw', 'compressed')),
    Spec('image_qos.reliability', 'best_effort',
         'Of the image subscriptions; best_effort connects to all cameras.',
         choices=('best_effort', 'reliable')),
    Spec('image_qos.depth', 5, 'History depth of the image subscriptions; costs no age.', limits=(1, 1000)),
    Spec('frame_policy', 'latest',
         'latest: a newer frame replaces a waiting one; every: all in turn (replay).',
         choices=('latest', 'every')),
    Spec('queue_size', 100, 'Frames that may wait per camera under frame_policy every.', limits=(1, 10_000)),
    Spec('top_k', 5, 'Most labels in a result.', limits=(1, 1000), live=True),
    Spec('min_score', 0.0, 'Labels with a lower probability are left out.', limits=(0.0, 1.0), live=True),
    Spec('class_id', 'name', "What class_id carries: the label's name, or its index in the network's output.",
         choices=('name', 'index'), live=True),
    Spec('embedding', True, 'Publish ~/embedding where the model gives one.', live=True),
    Spec('l2_normalize', True, 'Scale embeddings to length 1.', live=True),
    Spec('max_rate_hz', 0.0,
         'Most frames a second and camera; the others are dropped as throttled. 0: no limit.',
         limits=(0.0, 1000.0), live=True),
    Spec('max_age_s', 0.0, 'Frames with an older stamp (ROS clock) are dropped as stale. 0: no limit.',
         limits=(0.0, 86400.0), live=True),
    Spec('expected_rate_hz', 0.0, 'Rate that diagnostics expect of each camera. 0: no rate watch.',
         limits=(0.0, 1000.0), live=True),
    Spec('timeout_s', 1.0, 'Seconds without a frame after which a camera counts as silent. 0: never.',
         limits=(0.0, 3600.0), live=True),
    Spec('max_pixels', 40_000_000, 'Larger images are dropped before anything is allocated.',
         limits=(1, IO_MAX_PIXELS)),
    Spec('autostart', False, 'Configure and activate without being asked.'),
)
TABLE: Mapping[str, Spec] = {spec.name: spec for spec in SPECS}


def _refuse(name: str, value: Any, expected: str, remedy: str) -> Refusal:
    shown = printable(repr(value)[:200], 80)
    return Refusal(f'parameter {printable(name, 80)}: got {shown}, expected {expected}; {remedy}')


def _typed(spec: Spec, value: Any) -> Any:
    """The value in the parameter's type. An integer where a number is expected is what people type."""
    if spec.kind is float and type(value) is int:
        return float(value)
    if spec.kind is list and isinstance(value, (list, tuple)) and all(isinstance(v, str) for v in value):
        return list(value)
    if spec.kind is list or type(value) is not spec.kind:
        raise _refuse(spec.name, value, spec.expectation, f'such as {spec.default!r}')
    return value


def _check_cameras(spec: Spec, value: list[str]) -> None:
    remedy = "such as ['front', 'rear'], or [''] for one camera on image_raw"
    if not 1 <= len(value) <= MAX_CAMERAS:
        raise _refuse(spec.name, value, f'1 to {MAX_CAMERAS} names', remedy)
    if value == ['']:
        return
    for name in value:
        if len(name) > 200 or not _CAMERA_NAME.fullmatch(name):
            raise _refuse(spec.name, name, 'names of letters, digits, _ and /, as in a topic', remedy)
    if len(set(value)) != len(value):
        raise _refuse(spec.name, value, 'each name once', remedy)


def _check_text(spec: Spec, value: str) -> None:
    if spec.choices and value not in spec.choices:
        raise _refuse(spec.name, value, spec.expectation, 'write one of them')
    if len(value) > MAX_TEXT or '\0' in value:
        raise _refuse(spec.name, value, f'at most {MAX_TEXT} characters and no NUL', 'shorten it')
    if spec.name in ('model', 'provider') and not value:
        raise _refuse(spec.name, value, 'a text that is not empty', f'such as {spec.default!r}')
    if spec.name == 'model_sha256' and value and not re.fullmatch('[0-9a-fA-F]{64}', value):
        raise _refuse(spec.name, value, '64 hex digits', 'take them from `sha256sum <model file>`')


def accept(name: str, value: Any) -> Any:
    """The value as it will be stored.

    Raises:
        Refusal: no such parameter, wrong type, or out of range.
    """
    spec = TABLE.get(name)
    if spec is None:
        close = difflib.get_close_matches(name[:100], TABLE, 1)
        remedy = f'did you mean {close[0]}?' if close else '`ros2 param list` shows them'
        raise _refuse(name, value, 'a parameter of this node', remedy)
    value = _typed(spec, value)
    if spec.limits and not (math.isfinite(value) and spec.limits[0] <= value <= spec.limits[1]):
        raise _refuse(name, value, spec.expectation, f'the default is {spec.default!r}')
    if spec.kind is str:
        _check_text(spec, value)
    elif spec.kind is list:
        _check_cameras(spec, value)
    return value


def accept_change(name: str, value: Any) -> Any:
    """The value as it will be stored by a run-time change.

    Raises:
        Refusal: as `accept`, or the parameter can only be set at start.
    """
    value = accept(name, value)
    if not TABLE[name].live:
        raise _refuse(name, value, 'no change while the node runs (read-only)',
                      'set it in the parameter file or launch argument and start the node again')
    return value


def descriptor(spec: Spec) -> ParameterDescriptor:
    """What `ros2 param describe` shows."""
    result = ParameterDescriptor(name=spec.name, type=_TYPES[spec.kind].value, description=spec.description,
                                 read_only=not spec.live)
    if spec.choices:
        result.additional_constraints = f'one of: {", ".join(spec.choice_names)}'
    if spec.limits and spec.kind is int:
        low, high = (int(limit) for limit in spec.limits)
        result.integer_range = [IntegerRange(from_value=low, to_value=high, step=0)]
    elif spec.limits:
        result.floating_point_range = [FloatingPointRange(from_value=spec.limits[0], to_value=spec.limits[1])]
    return result


class CheckedParameters(Node):
    """Mixin for a node that was made with automatically_declare_parameters_from_overrides.

    Attributes:
        refused_at_start: parameter -> why its start-up value was refused; the default stands instead.
        unknown_at_start: names in the start-up file that this node does not know.
    """

    refused_at_start: dict[str, str]
    unknown_at_start: list[str]

    def declare_table(self) -> None:
        """Declare every parameter of the table, with its start-up value where that is acceptable."""
        self.refused_at_start, self.unknown_at_start = {}, []
        given = {name: p.value for name, p in self.get_parameters_by_prefix('').items()}
        for name in given:
            if name in TABLE:
                self.undeclare_parameter(name)
            elif not _is_rclpys_own(name):
                self.undeclare_parameter(name)
                self.unknown_at_start.append(name)
        for spec in SPECS:
            value = spec.default
            if spec.name in given:
                try:
                    value = accept(spec.name, given[spec.name])
                except Refusal as refusal:
                    self.refused_at_start[spec.name] = str(refusal)
            self.declare_parameter(spec.name, value, descriptor(spec), ignore_override=True)

    def value_of(self, name: str) -> Any:
        """The parameter's value in its Python type."""
        value = self.get_parameter(name).value
        return list(value) if TABLE[name].kind is list else value

    def set_parameters(self, parameter_list: list[Parameter[Any]]) -> list[SetParametersResult]:
        """Set one after the other; each refusal leaves that parameter alone."""
        return [self.set_parameters_atomically([parameter]) for parameter in parameter_list]

    def set_parameters_atomically(self, parameter_list: list[Parameter[Any]]) -> SetParametersResult:
        """Set all or none."""
        try:
            accepted = [_as_accepted(parameter) for parameter in parameter_list]
        except Refusal as refusal:
            self.get_logger().warning(str(refusal))
            return SetParametersResult(successful=False, reason=str(refusal))
        result = super().set_parameters_atomically(accepted)
        if result.successful:
            self.parameters_changed()
        return result

    def parameters_changed(self) -> None:
        """Called after each accepted change."""


def _as_accepted(parameter: Parameter[Any]) -> Parameter[Any]:
    if _is_rclpys_own(parameter.name):
        return parameter
    return Parameter(parameter.name, value=accept_change(parameter.name, parameter.value))


def _is_rclpys_own(name: str) -> bool:
    return name in ('use_sim_time', 'start_type_description_service') or name.startswith('qos_overrides.')
