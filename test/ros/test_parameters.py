# SPDX-License-Identifier: Apache-2.0
"""Start and run time validate alike (row D8), sets are all or nothing (D9), and the table is true."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2')
pytest.importorskip('onnx', reason='needs the extra export')

import yaml
from driving import Driver, active_node, driver
from lifecycle_msgs.msg import Transition
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.msg import ParameterValue
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from rclpy.context import Context
from rclpy.parameter import Parameter
from replaying import NODE, process, wait_for

from shufflenet_ros.bundles.locate import DEFAULT_MODEL, is_path
from shufflenet_ros.ros.node import FAILURE, SUCCESS, ClassifyNode
from shufflenet_ros.ros.parameters import (
    ALWAYS,
    MAX_CAMERAS,
    NEVER,
    SPECS,
    TABLE,
    InvalidParameterError,
    validate,
)

VALUES: tuple[Any, ...] = (
    True, 0, 1, -1, 5, 64, 65, 1000, 1001, 10**4, 2**27, 2**27 + 1, 2**62, -2**63, 2**63 - 1,
    0.0, 1.0, 0.5, -0.5, 1.0000001, 1e3, 1e-300, 5e9, math.nan, math.inf, -math.inf,
    '', 'raw', 'every', 'index', 'reliable', 'native', 'int8', 'RAW', 'raw ', '5', 'nan', 'ein Ger\u00e4t',
    'a' * 64, 'g' * 64,
    'x' * 4097, 'x' * 2**20, [''], ['front', 'rear'], ['a/b'], ['a', 'a'], ['1a'], ['a b'], ['a', ''],
    ['/a'], ['x' * 300], [f'c{i}' for i in range(MAX_CAMERAS + 1)], [1, 2], [1.0], [True])
TYPES = {bool: 'bool', int: 'int', float: 'double', str: 'string', list: 'string[]'}


class Quoting(yaml.SafeDumper):
    """Texts in quotes, because rcl reads a plain nan as a number; no aliases, which it rejects."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


Quoting.add_representer(
    str, lambda dumper, text: dumper.represent_scalar('tag:yaml.org,2002:str', text, style='"'))


@contextmanager
def started(context: Context, folder: Path, parameters: dict[str, Any]) -> Iterator[ClassifyNode]:
    """The node, started with a real parameter file."""
    path = folder / 'parameters.yaml'
    content = {'/**': {'ros__parameters': parameters}}
    path.write_text(yaml.dump(content, Dumper=Quoting, allow_unicode=True))
    node = ClassifyNode(context=context, use_global_arguments=False,
                        cli_args=['--ros-args', '--params-file', str(path)])
    try:
        yield node
    finally:
        node.close(3.0)
        node.destroy_node()


@pytest.fixture(scope='module')
def running(context: Context) -> Iterator[ClassifyNode]:
    node = ClassifyNode(context=context, use_global_arguments=False)
    yield node
    node.destroy_node()


@pytest.mark.parametrize('value', VALUES, ids=lambda v: repr(v)[:24])
def test_start_up_and_run_time_agree(context: Context, running: ClassifyNode, tmp_path: Path,
                                     value: Any) -> None:
    """Each value as a start-up value of every parameter at once, and as a change of each."""
    # rcl's parser needs a second for each megabyte.
    names = list(TABLE) if len(repr(value)) < 10_000 else ['model']
    with started(context, tmp_path, dict.fromkeys(names, value)) as node:
        for name in names:
            spec = TABLE[name]
            before = running.value_of(name)
            verdict = running.set_parameters_atomically([Parameter(name, value=value)])
            invalid_at_start = node.invalid_at_start.get(name)
            if spec.run_time == NEVER or name == 'model' and is_path(str(value)):
                assert not verdict.successful
                assert ('restart the node' in verdict.reason) == (invalid_at_start is None), name
            else:
                assert verdict.successful == (invalid_at_start is None), name
            if invalid_at_start is None:
                assert node.value_of(name) == (float(value) if spec.kind is float else value)
            else:
                assert verdict.reason == invalid_at_start
                assert node.value_of(name) == spec.default
                assert name in invalid_at_start and 'expected' in invalid_at_start
                assert len(invalid_at_start) < 500
            after = running.value_of(name)
            assert after == (value if verdict.successful else before) and type(after) is spec.kind
            running.set_parameters_atomically([Parameter(name, value=spec.default)])


def test_the_values_reach_both_verdicts_of_every_parameter() -> None:
    """So that the test above says something of each of them."""
    for name in TABLE:
        verdicts = set()
        for value in VALUES:
            try:
                validate(name, value)
                verdicts.add(True)
            except InvalidParameterError:
                verdicts.add(False)
        assert verdicts == {True, False}, name


def test_a_rejected_start_is_fixed_by_starting_right(context: Context, bundle: Path, tmp_path: Path) -> None:
    for wrong in ({'top_k': 2.5}, {'cameras': ['a', 'a']}, {'timeout_s': math.nan, 'class_id': 'color'}):
        with started(context, tmp_path, {'model': str(bundle)} | wrong) as node:
            assert node.trigger_configure() == FAILURE and node.state == 'unconfigured'
            assert all(name in node.failure for name in wrong)
    with started(context, tmp_path, {'model': str(bundle), 'topk': 3}) as node:
        assert node.unknown_at_start == ['topk'], 'a name this node does not know is reported, not obeyed'
        assert node.trigger_configure() == SUCCESS


def test_a_wrong_start_up_value_is_set_right_while_unconfigured(context: Context, bundle: Path,
                                                                tmp_path: Path) -> None:
    """Each parameter that the message says can be set."""
    wrong = {'top_k': 2.5, 'threads': 0, 'cameras': ['a', 'a']}
    with started(context, tmp_path, {'model': str(bundle)} | wrong) as node:
        for name, good in (('top_k', 3), ('threads', 2), ('cameras', ['a'])):
            assert node.trigger_configure() == FAILURE and f'parameter {name}' in node.failure
            assert not node.set_parameters_atomically([Parameter(name, value=-1)]).successful
            assert name in node.invalid_at_start, 'a second wrong value fixes nothing'
            assert node.set_parameters_atomically([Parameter(name, value=good)]).successful
        assert node.trigger_configure() == SUCCESS, node.failure
        assert list(node._cameras) == ['a'] and node.value_of('threads') == 2


def test_what_may_change_depends_on_the_state(context: Context, bundle: Path, tmp_path: Path) -> None:
    new = {'model': 'another', 'model_card': '/card.json', 'model_sha256': 'a' * 64, 'backend': 'onnxruntime',
           'precision': 'fp32', 'max_accuracy_loss': 1.0, 'provider': 'cuda', 'threads': 2,
           'cameras': ['front'],
           'image_transport': 'compressed', 'image_qos.reliability': 'reliable', 'image_qos.depth': 6,
           'frame_policy': 'every', 'queue_size': 7, 'stall_exit_s': 9.0, 'max_pixels': 1000,
           'autostart': True, 'top_k': 3}
    assert set(new) == {spec.name for spec in SPECS if spec.run_time != ALWAYS} | {'top_k'}

    def changeable(node: ClassifyNode) -> set[str]:
        """What may change now; each is set back."""
        before = {name: node.value_of(name) for name in new}
        found = {name for name, value in new.items()
                 if node.set_parameters_atomically([Parameter(name, value=value)]).successful}
        for name in found - {'model'}:
            assert node.value_of(name) == new[name]
            assert node.set_parameters_atomically([Parameter(name, value=before[name])]).successful
        return found

    with started(context, tmp_path, {'model': str(bundle)}) as node:
        assert node.trigger_configure() == SUCCESS
        assert changeable(node) == {'top_k'}
        assert node.trigger_activate() == SUCCESS
        assert changeable(node) == {'top_k'}
        verdict = node.set_parameters_atomically([Parameter('threads', value=2)])
        assert 'no change while the node is active' in verdict.reason and 'lifecycle set' in verdict.reason
        assert node.trigger_deactivate() == SUCCESS and node.trigger_cleanup() == SUCCESS
        assert changeable(node) == set(new) - {'model_card', 'autostart'}
        assert node.trigger_shutdown() == SUCCESS
        assert changeable(node) == {'top_k'}


def test_a_model_changes_to_a_name_alone(context: Context, bundle: Path, tmp_path: Path) -> None:
    """A path comes from the start: what is sent over the network must not choose files."""
    with started(context, tmp_path, {'model': str(bundle)}) as node:
        for path in ('/etc/passwd', '../x', 'a/b', 'x.onnx', './x'):
            verdict = node.set_parameters_atomically([Parameter('model', value=path)])
            assert not verdict.successful and repr(path) in verdict.reason
            assert 'expected a name at run time' in verdict.reason and 'models list' in verdict.reason
            assert node.value_of('model') == str(bundle)
        assert node.set_parameters_atomically([Parameter('model', value=DEFAULT_MODEL)]).successful
        assert node.trigger_configure() == SUCCESS, node.failure
        assert node._loaded is not None and node._loaded.card.name == DEFAULT_MODEL


def test_unknown_names_and_unset_values_are_rejected(running: ClassifyNode) -> None:
    verdict = running.set_parameters_atomically([Parameter('topk', value=3)])
    assert not verdict.successful and 'did you mean top_k' in verdict.reason
    for name in TABLE:
        assert not running.set_parameters_atomically([Parameter(name)]).successful
    assert running.value_of('top_k') == 5


def test_an_atomic_set_with_one_bad_member_changes_nothing(running: ClassifyNode) -> None:
    good = {'top_k': 7, 'min_score': 0.25, 'class_id': 'index', 'max_rate_hz': 12, 'l2_normalize': False}
    for bad in ({'max_age_s': -1.0}, {'model': '/other'}, {'nonsense': 1}, {'use_sim_time': 'yes'}):
        for position in range(len(good) + 1):
            members = [Parameter(name, value=value) for name, value in good.items()]
            members[position:position] = [Parameter(name, value=value) for name, value in bad.items()]
            verdict = running.set_parameters_atomically(members)
            assert not verdict.successful and verdict.reason
            assert all(running.value_of(name) == TABLE[name].default for name in good)
    try:
        assert running.set_parameters_atomically([Parameter(n, value=v) for n, v in good.items()]).successful
        assert {name: running.value_of(name) for name in good} == good
    finally:
        for name in good:
            running.set_parameters([Parameter(name, value=TABLE[name].default)])


@pytest.fixture(scope='module')
def driven(bundle: Path, own_domain: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    log = tmp_path_factory.mktemp('log') / 'node.log'
    with driver() as drive, active_node(drive, log, {'model': bundle}):
        yield drive


def test_raw_requests_of_odd_types(driven: Driver) -> None:
    """rclpy's own service raises on types above 9, and stock nodes die of it; this one counts it.

    test_callbacks.py sends all 256 types; here they reach a process, which still answers after each.
    """
    raising = (10, 11, 127, 128, 254, 255)
    for kind in (*range(10), *raising):
        for name in ('top_k', 'cameras', 'no_such'):
            message = ParameterMessage(name=name, value=ParameterValue(type=kind, integer_value=-5))
            future = driven.ask(SetParameters, 'set_parameters', SetParameters.Request(parameters=[message]))
            if kind not in raising:
                wait_for(future.done, 'an answer', 10.0)
                verdict, = future.result().results
                assert not verdict.successful and verdict.reason, kind
        assert driven.state() == 'active', kind
    errors = 3 * len(raising)
    node = driven.status_when('node', lambda s: s.count('callback_errors') == errors, 'the errors')
    assert node.level == 2 and 'is not a valid Parameter.Type' in node.values['last_callback_error']
    assert driven.set(top_k=4)[0].successful and driven.set(top_k=5)[0].successful


def test_an_atomic_request_over_dds(driven: Driver) -> None:
    members = [Parameter(name, value=value).to_parameter_msg()
               for name, value in (('top_k', 9), ('min_score', 7.0))]
    answer = driven.call(SetParametersAtomically, 'set_parameters_atomically',
                         SetParametersAtomically.Request(parameters=members)).result
    assert not answer.successful
    assert answer.reason == ('parameter min_score: got 7.0, expected a number in [0.0, 1.0]; '
                             'the default is 0.0')


@pytest.mark.parametrize('given', ['top_k:=1000000', 'top_k:=9223372036854775808', 'min_score:=.nan',
                                   'cameras:=[1, 2]'])
def test_a_process_with_a_bad_start_up_value_lives_and_says_so(
        own_domain: None, bundle: Path, tmp_path: Path, given: str) -> None:
    name = given.split(':')[0]
    log = tmp_path / 'node.log'
    words = [*NODE, '-r', '__node:=odd', '-p', f'model:={bundle}', '-p', given, '-p', 'autostart:=true']
    with driver('/odd') as drive, process(words, log) as child:
        assert drive.state() == 'unconfigured'
        assert not drive.change_state(Transition.TRANSITION_CONFIGURE)
        said = drive.status_when('node', lambda s: 'configure failed' in s.message, 'the error')
        assert said.level == 2 and f'parameter {name}' in said.message and 'expected' in said.message
        assert child.poll() is None
    assert 'Traceback' not in log.read_text()


def test_a_file_that_ros_cannot_read_ends_in_one_line(own_domain: None, tmp_path: Path) -> None:
    (tmp_path / 'broken.yaml').write_text('/**:\n  ros__parameters: [unclosed')
    log = tmp_path / 'node.log'
    with process([*NODE, '--params-file', str(tmp_path / 'broken.yaml')], log) as child:
        assert child.wait(20.0) == 1
    assert 'Traceback' not in log.read_text() and 'cannot start' in log.read_text()


def row(node: ClassifyNode, name: str) -> str:
    """A parameter as docs/node.md's table must show it, from what the running node declares."""
    shown = node.describe_parameter(name)
    spec, default = TABLE[name], node.value_of(name)
    text = {bool: str(default).lower(), str: repr(default)}.get(spec.kind, str(default))
    limits = [*shown.integer_range, *shown.floating_point_range]
    kind = TYPES[spec.kind]
    if limits:
        kind += f' [{limits[0].from_value}, {limits[0].to_value}]'
    constraints = shown.additional_constraints.split('; ')
    if constraints[0].startswith('one of: '):
        kind += ': ' + constraints[0].removeprefix('one of: ').replace(', ', ' or ')
    while_unconfigured = 'changes only while the node is unconfigured' in constraints
    run_time = 'no' if shown.read_only else 'while unconfigured' if while_unconfigured else 'yes'
    return f'| `{name}` | {kind} | `{text}` | {run_time} | {shown.description} |'


def test_the_table_in_the_documentation_is_the_nodes(context: Context, repo_root: Path) -> None:
    node = ClassifyNode(context=context, use_global_arguments=False)
    try:
        expected = [row(node, spec.name) for spec in SPECS]
    finally:
        node.destroy_node()
    section = (repo_root / 'docs' / 'node.md').read_text().split('## Parameters')[1].split('\n## ')[0]
    assert re.findall(r'^\| `.*$', section, re.M) == expected


def test_the_shipped_file_holds_the_defaults(repo_root: Path) -> None:
    """config/classify.yaml names every parameter; only autostart differs, by design."""
    shipped = yaml.safe_load((repo_root / 'config' / 'classify.yaml').read_text())['/**']['ros__parameters']
    assert shipped == {spec.name: spec.default for spec in SPECS} | {'autostart': True}
