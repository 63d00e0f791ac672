# SPDX-License-Identifier: Apache-2.0
"""Start-up and run-time values are validated alike (row D8), sets are all or nothing (D9), docs are right."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import yaml
from in_process import unspun_node
from rclpy.context import Context
from rclpy.parameter import Parameter
from replaying import NODE, process

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
    """Strings in quotes, because rcl reads a plain nan as a number; no aliases, which it rejects."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


Quoting.add_representer(
    str, lambda dumper, text: dumper.represent_scalar('tag:yaml.org,2002:str', text, style='"'))


def started(context: Context, folder: Path,
            parameters: dict[str, Any]) -> AbstractContextManager[ClassifyNode]:
    """The node, started with a real parameter file."""
    path = folder / 'parameters.yaml'
    content = {'/**': {'ros__parameters': parameters}}
    path.write_text(yaml.dump(content, Dumper=Quoting, allow_unicode=True))
    return unspun_node(context, '--params-file', str(path))


def set_to(node: ClassifyNode, **values: Any) -> Any:
    """The result of setting all of these or none."""
    return node.set_parameters_atomically([Parameter(name, value=value) for name, value in values.items()])


@pytest.fixture(scope='module')
def running(context) -> Iterator[ClassifyNode]:
    with unspun_node(context) as node:
        yield node


@pytest.mark.parametrize('value', VALUES, ids=lambda v: repr(v)[:24])
def test_start_up_and_run_time_agree(context, running, tmp_path, value):
    """Each value as a start-up value of every parameter at once, and as a change of each."""
    # rcl's parser needs a second for each megabyte.
    names = list(TABLE) if len(repr(value)) < 10_000 else ['model']
    with started(context, tmp_path, dict.fromkeys(names, value)) as node:
        for name in names:
            spec = TABLE[name]
            before = running.value_of(name)
            result = set_to(running, **{name: value})
            invalid_at_start = node.invalid_at_start.get(name)
            if spec.run_time == NEVER or name == 'model' and is_path(str(value)):
                assert not result.successful
                assert ('restart the node' in result.reason) == (invalid_at_start is None), name
            else:
                assert result.successful == (invalid_at_start is None), name
            if invalid_at_start is None:
                assert node.value_of(name) == (float(value) if spec.kind is float else value)
            else:
                assert result.reason == invalid_at_start
                assert node.value_of(name) == spec.default
                assert name in invalid_at_start and 'expected' in invalid_at_start
                assert len(invalid_at_start) < 500
            after = running.value_of(name)
            assert after == (value if result.successful else before) and type(after) is spec.kind
            set_to(running, **{name: spec.default})


def test_the_values_are_good_and_bad_for_every_parameter():
    """So that the test above says something about each of them."""
    def is_valid(name: str, value: Any) -> bool:
        try:
            validate(name, value)
        except InvalidParameterError:
            return False
        return True

    for name in TABLE:
        assert {is_valid(name, value) for value in VALUES} == {True, False}, name


@pytest.mark.parametrize('given', ['top_k:=1000000', 'top_k:=9223372036854775808', 'min_score:=.nan',
                                   'cameras:=[1, 2]', 'cameras:=[a, a]', 'class_id:=color'])
def test_a_bad_start_up_value_on_the_command_line_keeps_it_unconfigured(context, model, given):
    with unspun_node(context, '-p', given, model=model) as node:
        assert node.trigger_configure() == FAILURE and node.state == 'unconfigured'
        assert f'parameter {given.split(":")[0]}' in node.failure and 'expected' in node.failure


def test_a_wrong_start_up_value_is_corrected_while_unconfigured(context, model, tmp_path):
    """Each parameter that the message says can be set; names that the node does not know do no harm."""
    wrong = {'top_k': 2.5, 'threads': 0, 'cameras': ['a', 'a']}
    with started(context, tmp_path, {'model': str(model), 'topk': 3} | wrong) as node:
        assert node.unknown_at_start == ['topk']
        for name, good in (('top_k', 3), ('threads', 2), ('cameras', ['a'])):
            assert node.trigger_configure() == FAILURE and f'parameter {name}' in node.failure
            assert not set_to(node, **{name: -1}).successful
            assert name in node.invalid_at_start, 'a second wrong value corrects nothing'
            assert set_to(node, **{name: good}).successful
        assert node.trigger_configure() == SUCCESS, node.failure
        assert list(node._cameras) == ['a'] and node.value_of('threads') == 2


def test_what_may_change_depends_on_the_state(context, model):
    new = {'model': 'another', 'model_card': '/card.json', 'model_sha256': 'a' * 64, 'backend': 'onnxruntime',
           'precision': 'fp32', 'max_accuracy_loss': 1.0, 'provider': 'cuda', 'threads': 2,
           'cameras': ['front'],
           'image_transport': 'compressed', 'image_qos.reliability': 'reliable', 'image_qos.depth': 6,
           'frame_policy': 'every', 'queue_size': 7, 'stall_exit_s': 9.0, 'max_pixels': 1000,
           'bond': False, 'autostart': True, 'top_k': 3}
    assert set(new) == {spec.name for spec in SPECS if spec.run_time != ALWAYS} | {'top_k'}

    def changeable(node: ClassifyNode) -> set[str]:
        """What may change now; each is set back."""
        before = {name: node.value_of(name) for name in new}
        found = {name for name, value in new.items() if set_to(node, **{name: value}).successful}
        for name in found - {'model'}:
            assert node.value_of(name) == new[name]
            assert set_to(node, **{name: before[name]}).successful
        return found

    with unspun_node(context, model=model) as node:
        assert node.trigger_configure() == SUCCESS
        assert changeable(node) == {'top_k'}
        assert node.trigger_activate() == SUCCESS
        assert changeable(node) == {'top_k'}
        reason = set_to(node, threads=2).reason
        assert 'no change while the node is active' in reason and 'lifecycle set' in reason
        assert node.trigger_deactivate() == SUCCESS and node.trigger_cleanup() == SUCCESS
        assert changeable(node) == set(new) - {'model_card', 'autostart'}
        assert node.trigger_shutdown() == SUCCESS
        assert changeable(node) == {'top_k'}


def test_a_model_changes_to_a_name_only(context, model):
    """A path can be given only at start: clients on the network must not choose files."""
    with unspun_node(context, model=model) as node:
        for path in ('/etc/passwd', '../x', 'a/b', 'x.onnx', './x'):
            result = set_to(node, model=path)
            assert not result.successful and repr(path) in result.reason
            assert 'expected a name at run time' in result.reason and 'models list' in result.reason
            assert node.value_of('model') == str(model)
        assert set_to(node, model=DEFAULT_MODEL).successful
        assert node.trigger_configure() == SUCCESS, node.failure
        assert node._loaded is not None and node._loaded.card.name == DEFAULT_MODEL


def test_unknown_names_and_unset_values_are_rejected(running):
    assert set_to(running, min_score=7.0).reason == (
        'parameter min_score: got 7.0, expected a number in [0.0, 1.0]; the default is 0.0')
    result = set_to(running, topk=3)
    assert not result.successful and 'did you mean top_k' in result.reason
    for name in TABLE:
        assert not running.set_parameters_atomically([Parameter(name)]).successful
    assert running.value_of('top_k') == 5


def test_an_atomic_set_with_one_bad_member_changes_nothing(running):
    good = {'top_k': 7, 'min_score': 0.25, 'class_id': 'index', 'max_rate_hz': 12, 'l2_normalize': False}
    for bad in (('max_age_s', -1.0), ('model', '/other'), ('nonsense', 1), ('use_sim_time', 'yes')):
        for position in range(len(good) + 1):
            members = list(good.items())
            members.insert(position, bad)
            result = set_to(running, **dict(members))
            assert not result.successful and result.reason
            assert all(running.value_of(name) == TABLE[name].default for name in good)
    try:
        assert set_to(running, **good).successful
        assert {name: running.value_of(name) for name in good} == good
    finally:
        set_to(running, **{name: TABLE[name].default for name in good})


def test_a_file_that_ros_cannot_read_ends_in_one_line(own_domain, tmp_path):
    (tmp_path / 'broken.yaml').write_text('/**:\n  ros__parameters: [unclosed')
    log = tmp_path / 'node.log'
    with process([*NODE, '--params-file', str(tmp_path / 'broken.yaml')], log) as child:
        assert child.wait(20.0) == 1
    assert 'Traceback' not in log.read_text() and 'cannot start' in log.read_text()


def test_without_our_messages_the_error_names_doctor(own_domain, tmp_path, monkeypatch):
    monkeypatch.setenv('PYTHONPATH', f'{tmp_path}{os.pathsep}{os.environ.get("PYTHONPATH", "")}')
    (tmp_path / 'shufflenet_ros_msgs.py').touch()
    with process(NODE, tmp_path / 'node.log') as child:
        assert child.wait(20.0) == 1
    assert 'cannot start: No module named' in (tmp_path / 'node.log').read_text()
    assert (tmp_path / 'node.log').read_text().strip().endswith('doctor` says how to install it')


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


def test_the_table_in_the_documentation_is_right(context, repo_root):
    with unspun_node(context) as node:
        expected = [row(node, spec.name) for spec in SPECS]
    section = (repo_root / 'docs' / 'node.md').read_text().split('## Parameters')[1].split('\n## ')[0]
    assert re.findall(r'^\| `.*$', section, re.M) == expected


def test_the_shipped_file_has_the_defaults(repo_root):
    """config/classify.yaml lists every parameter; only autostart differs, by design."""
    shipped = yaml.safe_load((repo_root / 'config' / 'classify.yaml').read_text())['/**']['ros__parameters']
    assert shipped == {spec.name: spec.default for spec in SPECS} | {'autostart': True}
