# SPDX-License-Identifier: Apache-2.0
"""Requests for very many parameters are rejected before rclpy processes them name by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from in_process import Bench, bench
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import (
    DescribeParameters,
    GetParameters,
    GetParameterTypes,
    ListParameters,
    SetParameters,
    SetParametersAtomically,
)
from replaying import FULL

from shufflenet_ros.ros.parameter_node import MAX_NAMES
from shufflenet_ros.ros.parameters import TABLE

FLOOD = 20_000 if FULL else 2_000
ONE = ParameterValue(type=ParameterType.PARAMETER_INTEGER, integer_value=1)


@pytest.fixture(scope='module')
def active(context, model) -> Iterator[Bench]:
    with bench(context, model) as made:
        made.activate()
        yield made


@pytest.fixture
def calls(active, monkeypatch) -> Counter[tuple[str, str]]:
    """(method, argument) of each call that rclpy makes to process a request; these calls are slow."""
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


def set_parameters(active: Bench, count: int) -> tuple[list[Any], Any]:
    """The results of setting top_k to 1 after count - 1 unknown names: one by one, and atomically."""
    many = [Parameter(name=f'no_such_{i}', value=ONE) for i in range(count - 1)]
    many.append(Parameter(name='top_k', value=ONE))
    together = active.call(SetParametersAtomically, 'set_parameters_atomically',
                           SetParametersAtomically.Request(parameters=many)).result
    one_by_one = active.call(SetParameters, 'set_parameters', SetParameters.Request(parameters=many)).results
    return one_by_one, together


@pytest.mark.parametrize('count', [MAX_NAMES + 1, FLOOD])
def test_a_request_to_set_too_many_is_rejected_at_once(active, calls, count):
    results, together = set_parameters(active, count)
    assert len(results) == count
    for result in (*results, together):
        assert not result.successful
        assert result.reason == f'got {count} parameters in one request, expected at most 100: split it'
    assert calls['set_parameters_atomically', ''] == 0
    assert active.node.value_of('top_k') == TABLE['top_k'].default
    assert active.gives_result()


@pytest.mark.parametrize(('kind', 'name', 'method', 'field'), [
    (GetParameters, 'get_parameters', 'get_parameter', 'values'),
    (GetParameterTypes, 'get_parameter_types', 'get_parameter_type', 'types'),
    (DescribeParameters, 'describe_parameters', 'describe_parameter', 'descriptors')])
def test_a_request_to_get_too_many_gets_an_empty_response(active, calls, kind, name, method, field):
    for count, expected in ((MAX_NAMES, MAX_NAMES), (MAX_NAMES + 1, 0), (FLOOD, 0), (1, 1)):
        calls.clear()
        response = active.call(kind, name, kind.Request(names=['top_k'] * count))
        assert len(getattr(response, field)) == calls[method, 'top_k'] == expected


def test_too_many_prefixes_list_nothing(active, calls):
    for count, expected in ((1, 1), (MAX_NAMES + 1, 0)):
        calls.clear()
        request = ListParameters.Request(prefixes=['image_qos'] * count, depth=0)
        listed = active.call(ListParameters, 'list_parameters', request).result.names
        assert bool(listed) is bool(expected) and calls['list_parameters', ''] == expected


def test_as_many_as_allowed_each_get_a_result_and_together_one_log_line(active, capfd):
    for _ in range(3):
        results, together = set_parameters(active, MAX_NAMES)
        assert [result.successful for result in results] == [False] * (MAX_NAMES - 1) + [True]
        assert not together.successful and 'no_such_0:' in together.reason
        assert 'no_such_7:' in results[7].reason
    lines = [line for line in capfd.readouterr().err.splitlines() if 'no_such' in line]
    assert 1 <= len(lines) <= 2, 'one line in 5 s, not one per name'
