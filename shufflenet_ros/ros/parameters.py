# SPDX-License-Identifier: Apache-2.0
"""The node's parameters: one table, and one validator for start-up files and run-time changes.

rclpy checks types and ranges too, but at start-up it raises in the constructor, and its errors name neither
cause nor remedy. So every value, from a file or at run time, goes through `validate` first.
"""

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.parameter import Parameter

from shufflenet_ros.bundles.locate import DEFAULT_MODEL, is_path
from shufflenet_ros.bundles.variants import AUTO, BACKENDS, MAX_ACCURACY_LOSS, PRECISIONS
from shufflenet_ros.core.errors import ShuffleNetError
from shufflenet_ros.core.opencv import IO_MAX_PIXELS
from shufflenet_ros.core.text import printable

MAX_CAMERAS = 64
MAX_TEXT = 4096

_TYPES = {bool: (Parameter.Type.BOOL, 'true or false'), int: (Parameter.Type.INTEGER, 'an integer'),
          float: (Parameter.Type.DOUBLE, 'a number'), str: (Parameter.Type.STRING, 'a string'),
          list: (Parameter.Type.STRING_ARRAY, 'a list of strings')}
_CAMERA_NAME = re.compile(r'[A-Za-z][A-Za-z0-9_]*(/[A-Za-z][A-Za-z0-9_]*)*')
_QOS_OVERRIDE = re.compile(r'qos_overrides\.(/[A-Za-z0-9_/]+)\.(subscription|publisher)\.(?P<policy>[a-z]+)')
# When a parameter may change at run time.
ALWAYS, UNCONFIGURED, NEVER = 'yes', 'while unconfigured', 'no'


class InvalidParameterError(ShuffleNetError):
    """An invalid parameter value; the message has the value, what is expected, and what to do."""


@dataclass(frozen=True)
class Spec:
    """One parameter.

    Attributes:
        limits: lowest and highest allowed number.
        choices: allowed strings, if only some are.
        run_time: when it may change: ALWAYS, UNCONFIGURED (`configure` reads it), or NEVER (a path, or a
            value that is read once at start).
    """

    name: str
    default: bool | int | float | str | list[str]
    description: str
    limits: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()
    run_time: str = UNCONFIGURED

    @property
    def kind(self) -> type:
        """The Python type of its values."""
        return type(self.default)

    @property
    def expectation(self) -> str:
        """What values are allowed, in words."""
        if self.choices:
            return ' or '.join(self.choices)
        words = _TYPES[self.kind][1]
        return f'{words} in {[self.kind(limit) for limit in self.limits]}' if self.limits else words


SPECS = (
    Spec('model', DEFAULT_MODEL, 'Bundle to run: a name that `shufflenet-ros models list` shows, or a path.'),
    Spec('model_card', '',
         'Card file for a third-party ONNX file; empty: the card inside or beside the model.',
         run_time=NEVER),
    Spec('model_sha256', '', 'Expected SHA-256 of the model file, 64 hex digits; empty: not checked.'),
    Spec('backend', 'auto', 'Backend to use; auto: the fastest on this machine.', choices=BACKENDS),
    Spec('precision', AUTO, 'Which variant of the bundle to run; auto: the fastest within max_accuracy_loss.',
         choices=(AUTO, *PRECISIONS)),
    Spec('max_accuracy_loss', MAX_ACCURACY_LOSS,
         'Points of top-1 accuracy that precision auto may lose, going by the card.', limits=(0.0, 100.0)),
    Spec('provider', 'cpu',
         'Execution provider of ONNX Runtime, such as cpu or cuda; auto: the best that works here.'),
    Spec('threads', 1, 'Threads for one inference; with more than 1, backend auto selects onnxruntime.',
         limits=(1, 64)),
    Spec('cameras', [''], "Camera names: each is read from NAME/image_raw; ['']: one camera on image_raw."),
    Spec('image_transport', 'raw', 'Which topics to read: image_raw, or image_raw/compressed.',
         choices=('raw', 'compressed')),
    Spec('image_qos.reliability', 'best_effort',
         'Reliability of the image subscriptions; best_effort connects to all cameras.',
         choices=('best_effort', 'reliable')),
    Spec('image_qos.depth', 5, 'History depth of the image subscriptions; adds no delay.', limits=(1, 1000)),
    Spec('frame_policy', 'latest',
         'latest: a newer frame replaces a waiting one; every: all frames in order (replay).',
         choices=('latest', 'every')),
    Spec('queue_size', 100, 'Frames that may wait per camera under frame_policy every.', limits=(1, 10_000)),
    Spec('top_k', 5, 'Maximum number of labels in a result.', limits=(1, 1000), run_time=ALWAYS),
    Spec('min_score', 0.0, 'Labels with a lower probability are omitted.', limits=(0.0, 1.0),
         run_time=ALWAYS),
    Spec('class_id', 'name', "Content of class_id: the label's name, or its index in the network's output.",
         choices=('name', 'index'), run_time=ALWAYS),
    Spec('embedding', True, 'Publish ~/embedding if the model has one.', run_time=ALWAYS),
    Spec('l2_normalize', True, 'Scale embeddings to length 1.', run_time=ALWAYS),
    Spec('max_rate_hz', 0.0,
         'Maximum frame rate per camera; excess frames are dropped as throttled. 0: no limit.',
         limits=(0.0, 1000.0), run_time=ALWAYS),
    Spec('max_age_s', 0.0, 'Frames with an older stamp (ROS clock) are dropped as stale. 0: no limit.',
         limits=(0.0, 86400.0), run_time=ALWAYS),
    Spec('expected_rate_hz', 0.0, 'Expected frame rate of each camera, for diagnostics. 0: no rate check.',
         limits=(0.0, 1000.0), run_time=ALWAYS),
    Spec('timeout_s', 1.0, 'Seconds without a frame before diagnostics report Timeout. 0: never.',
         limits=(0.0, 3600.0), run_time=ALWAYS),
    Spec('stall_s', 2.0,
         'Seconds a frame may take before diagnostics are ERROR; WARN at half of that. 0: never.',
         limits=(0.0, 3600.0), run_time=ALWAYS),
    Spec('stall_exit_s', 0.0,
         'Seconds a frame may take before the process ends with status 70, for respawn. 0: never.',
         limits=(0.0, 3600.0)),
    Spec('max_pixels', 40_000_000, 'Larger images are dropped before anything is allocated.',
         limits=(1, IO_MAX_PIXELS)),
    Spec('bond', True, "Hold a bond with nav2's lifecycle manager while active, if bondpy is installed."),
    Spec('autostart', False, 'Configure and activate at start.', run_time=NEVER),
)
TABLE: Mapping[str, Spec] = {spec.name: spec for spec in SPECS}
# QoS overrides are named qos_overrides.<topic>.<subscription|publisher>.<policy>.
_POLICIES: Mapping[str, Spec] = {spec.name: spec for spec in (
    Spec('history', 'keep_last', 'History of this topic.', choices=('keep_last', 'keep_all')),
    Spec('depth', 10, 'History depth of this topic.', limits=(1, 1000)),
    Spec('reliability', 'reliable', 'Reliability of this topic.', choices=('best_effort', 'reliable')),
    Spec('durability', 'volatile', 'Durability of this topic.', choices=('volatile', 'transient_local')),
)}


def spec_of(name: str) -> Spec | None:
    """The spec of a parameter or QoS override; None for an unknown name."""
    override = _QOS_OVERRIDE.fullmatch(name)
    policy = _POLICIES.get(override['policy']) if override else None
    return replace(policy, name=name) if policy else TABLE.get(name)


def _invalid(name: str, value: Any, expected: str, remedy: str) -> InvalidParameterError:
    return InvalidParameterError(f'parameter {printable(name, 80)}: got {printable(repr(value)[:200], 80)}, '
                                 f'expected {expected}; {remedy}')


def _typed(spec: Spec, value: Any) -> Any:
    """The value in the parameter's type; people also type an integer for a float."""
    if spec.kind is float and type(value) is int:
        return float(value)
    if spec.kind is list and isinstance(value, (list, tuple)) and all(isinstance(v, str) for v in value):
        return list(value)
    if spec.kind is list or type(value) is not spec.kind:
        raise _invalid(spec.name, value, spec.expectation, f'such as {spec.default!r}')
    return value


def _check_cameras(spec: Spec, value: list[str]) -> None:
    remedy = "such as ['front', 'rear'], or [''] for one camera on image_raw"
    if not 1 <= len(value) <= MAX_CAMERAS:
        raise _invalid(spec.name, value, f'1 to {MAX_CAMERAS} names', remedy)
    if value == ['']:
        return
    for name in value:
        if len(name) > 200 or not _CAMERA_NAME.fullmatch(name):
            raise _invalid(spec.name, name, 'names of letters, digits, _ and /, as in a topic', remedy)
    if len(set(value)) != len(value):
        raise _invalid(spec.name, value, 'each name once', remedy)


def _check_text(spec: Spec, value: str) -> None:
    if spec.choices and value not in spec.choices:
        raise _invalid(spec.name, value, spec.expectation, 'use one of them')
    if len(value) > MAX_TEXT or '\0' in value:
        raise _invalid(spec.name, value, f'at most {MAX_TEXT} characters and no NUL', 'shorten it')
    if spec.name in ('model', 'provider') and not value:
        raise _invalid(spec.name, value, 'a non-empty string', f'such as {spec.default!r}')
    if spec.name == 'model_sha256' and value and not re.fullmatch('[0-9a-fA-F]{64}', value):
        raise _invalid(spec.name, value, '64 hex digits', 'get them with `sha256sum <model file>`')


def validate(name: str, value: Any) -> Any:
    """Validate a value and return it as it will be stored.

    Raises:
        InvalidParameterError: no such parameter, wrong type, or out of range.
    """
    spec = spec_of(name)
    if spec is None:
        close = difflib.get_close_matches(name[:100], TABLE, 1)
        remedy = f'did you mean {close[0]}?' if close else '`ros2 param list` lists them'
        raise _invalid(name, value, 'a parameter of this node', remedy)
    value = _typed(spec, value)
    if spec.limits and not (math.isfinite(value) and spec.limits[0] <= value <= spec.limits[1]):
        raise _invalid(name, value, spec.expectation, f'the default is {spec.default!r}')
    if spec.kind is str:
        _check_text(spec, value)
    elif spec.kind is list:
        _check_cameras(spec, value)
    return value


def validate_change(name: str, value: Any, state: str) -> Any:
    """Validate a run-time change and return the value as it will be stored.

    Args:
        state: the node's lifecycle state.

    Raises:
        InvalidParameterError: see `validate`; or the parameter can't change in this state.
    """
    value = validate(name, value)
    spec = spec_of(name)
    assert spec
    restart = 'set it in the parameter file or launch argument and restart the node'
    if spec.run_time == NEVER:
        raise _invalid(name, value, 'no change while the process runs (read-only)', restart)
    if spec.run_time == UNCONFIGURED and state != 'unconfigured':
        raise _invalid(name, value, f'no change while the node is {state} (read-only until unconfigured)',
                      f'bring it to unconfigured with `ros2 lifecycle set` first, or {restart}')
    if name == 'model' and is_path(value):
        raise _invalid(name, value, 'a name at run time: a path is allowed only at start',
                      f'set a name that `shufflenet-ros models list` shows, or {restart}')
    return value


def descriptor(spec: Spec) -> ParameterDescriptor:
    """What `ros2 param describe` shows."""
    constraints = [f'one of: {", ".join(spec.choices)}'] if spec.choices else []
    if spec.run_time == UNCONFIGURED:
        constraints.append('changes only while the node is unconfigured')
    if spec.name == 'model':
        constraints.append('to a name, not to a path')
    result = ParameterDescriptor(
        name=spec.name, type=_TYPES[spec.kind][0].value, description=spec.description,
        additional_constraints='; '.join(constraints), read_only=spec.run_time == NEVER)
    if spec.limits:
        low, high = (spec.kind(limit) for limit in spec.limits)
        if spec.kind is int:
            result.integer_range = [IntegerRange(from_value=low, to_value=high)]
        else:
            result.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
    return result
