# SPDX-License-Identifier: Apache-2.0
"""Parameter requests of any size: answered at once beyond a limit, one log line for all, images go on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2')
pytest.importorskip('onnx', reason='needs the extra export')

from in_process import Bench, bench, trusted_bundle
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import (
    DescribeParameters,
    GetParameters,
    GetParameterTypes,
    ListParameters,
    SetParameters,
    SetParametersAtomically,
)
from rclpy.context import Context

from shufflenet_ros.ros.parameters import TABLE
from shufflenet_ros.ros.requests import MAX_NAMES

FLOOD = 20_000
ONE = ParameterValue(type=ParameterType.PARAMETER_INTEGER, integer_value=1)


@pytest.fixture(scope='module')
def active(context: Context, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with trusted_bundle(tmp_path_factory.mktemp('cache')) as path, bench(context, path) as made:
        made.bring_to('active')
        made.wait_for_subscription()
        yield made


@pytest.fixture
def asked(active: Bench, monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[str, str]]:
    """(method, argument) of each call that rclpy makes to work a request off: what takes the time."""
    seen: Counter[tuple[str, str]] = Counter()

    def count(name: str) -> None:
        original = getattr(active.node, name)

        def counted(*args: Any) -> Any:
            seen[name, args[0] if isinstance(args[0], str) else ''] += 1
            return original(*args)
        monkeypatch.setattr(active.node, name, counted)
    for name in ('set_parameters_atomically', 'get_parameter', 'get_parameter_type', 'describe_parameter',
                 'list_parameters'):
        count(name)
    return seen


def parameters(count: int, name: str = 'no_such_{}') -> list[Parameter]:
    return [Parameter(name=name.format(i), value=ONE) for i in range(count)]


@pytest.mark.parametrize('count', [MAX_NAMES + 1, FLOOD])
def test_too_many_names_to_set_are_rejected_unseen(active: Bench, asked: Counter[tuple[str, str]],
                                                   count: int) -> None:
    many = parameters(count - 1) + parameters(1, 'top_k')
    results = active.call(SetParameters, 'set_parameters', SetParameters.Request(parameters=many)).results
    together = active.call(SetParametersAtomically, 'set_parameters_atomically',
                           SetParametersAtomically.Request(parameters=many)).result
    assert len(results) == count
    for result in (*results, together):
        assert not result.successful
        assert result.reason == f'got {count} parameters in one request, expected at most 100: split it'
    assert asked['set_parameters_atomically', ''] == 0
    assert active.node.value_of('top_k') == TABLE['top_k'].default
    assert active.answered()


@pytest.mark.parametrize(('kind', 'name', 'method', 'answer'), [
    (GetParameters, 'get_parameters', 'get_parameter', 'values'),
    (GetParameterTypes, 'get_parameter_types', 'get_parameter_type', 'types'),
    (DescribeParameters, 'describe_parameters', 'describe_parameter', 'descriptors')])
def test_too_many_names_to_get_are_answered_with_nothing(
        active: Bench, asked: Counter[tuple[str, str]], kind: Any, name: str, method: str,
        answer: str) -> None:
    for count, expected in ((MAX_NAMES, MAX_NAMES), (MAX_NAMES + 1, 0), (FLOOD, 0), (1, 1)):
        asked.clear()
        got = active.call(kind, name, kind.Request(names=['top_k'] * count))
        assert len(getattr(got, answer)) == asked[method, 'top_k'] == expected


def test_too_many_prefixes_list_nothing(active: Bench, asked: Counter[tuple[str, str]]) -> None:
    for count, calls in ((1, 1), (MAX_NAMES + 1, 0)):
        asked.clear()
        request = ListParameters.Request(prefixes=['image_qos'] * count, depth=0)
        listed = active.call(ListParameters, 'list_parameters', request).result.names
        assert bool(listed) is bool(calls) and asked['list_parameters', ''] == calls


def test_as_many_as_allowed_are_judged_one_by_one_in_one_log_line(
        active: Bench, capfd: pytest.CaptureFixture[str]) -> None:
    for _ in range(3):
        many = [*parameters(MAX_NAMES - 1), *parameters(1, 'top_k')]
        results = active.call(SetParameters, 'set_parameters', SetParameters.Request(parameters=many)).results
        assert [result.successful for result in results] == [False] * (MAX_NAMES - 1) + [True]
        assert 'no_such_7:' in results[7].reason
    lines = [line for line in capfd.readouterr().err.splitlines() if 'no_such' in line]
    assert 1 <= len(lines) <= 2, 'a line in 5 s, not one a name'
