# SPDX-License-Identifier: Apache-2.0
"""docs/node.md names a test for each parameter and launch argument. It exists and sets what it stands for."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import launch_stand_in
import pytest

from shufflenet_ros.ros.parameters import TABLE

HERE = Path(__file__).parent
PAGE = (HERE.parents[1] / 'docs/node.md').read_text()
SECTION = PAGE.split('## Tests of each parameter')[1].split('\n## ')[0]


def rows(heading: str) -> list[tuple[str, str]]:
    """(name, file::test) of a table."""
    table = SECTION.split(f'| {heading} |')[1].split('\n\n')[0]
    return re.findall(r'^\| `([\w.]+)` \| `(\w+\.py::\w+)` \|$', table, re.M)


def functions(source: str) -> dict[str, tuple[str, set[str]]]:
    """The source of each function, with its decorators, and the names of its arguments."""
    found = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            text = '\n'.join(source.splitlines()[first - 1:node.end_lineno])
            found[node.name] = text, {argument.arg for argument in node.args.args}
    return found


def with_fixtures(name: str, known: dict[str, tuple[str, set[str]]]) -> str:
    """The source of a test and of the fixtures that it uses, as far as they are in its file."""
    text, arguments = known[name]
    return text + ''.join(with_fixtures(argument, known) for argument in arguments & known.keys())


def test_every_parameter_and_every_launch_argument_has_a_row():
    assert [name for name, _ in rows('parameter')] == list(TABLE)
    arguments = [name for name, *_ in launch_stand_in.load().ARGUMENTS]
    assert [name for name, _ in rows('launch argument')] == arguments


@pytest.mark.parametrize(('name', 'test'), rows('parameter') + rows('launch argument'))
def test_the_test_exists_and_sets_it(name, test):
    file, function = test.split('::')
    known = functions((HERE / file).read_text())
    assert function in known and function.startswith('test_')
    # As a string, a keyword argument, or in the name of the test.
    pattern = re.escape(name).replace(r'\.', r'(\.|__)')
    assert re.search(rf"['\"]{pattern}\b|\b{pattern}=|test_{pattern}_", with_fixtures(function, known)), name
