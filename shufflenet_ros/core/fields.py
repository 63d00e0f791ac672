# SPDX-License-Identifier: Apache-2.0
"""Checks the typed fields of outside data: cards, recipes, label files, tables."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from shufflenet_ros.core.errors import ShuffleNetError
from shufflenet_ros.core.text import printable


class FieldError(ShuffleNetError):
    """An invalid field: `<field>: got <value>, expected <what>`. Callers add the file's name."""


def shorten(value: Any) -> str:
    """A value for a message; of containers only the size, because they can be nested without end."""
    if value is None:
        return 'nothing'
    if isinstance(value, Mapping):
        return f'an object of {len(value)}'
    if isinstance(value, (list, set, tuple)) and len(value) > 4:
        return f'a list of {len(value)}'
    return printable(repr(value)[:200], 80)


def invalid(where: str, got: Any, expected: str) -> FieldError:
    """The error for a field's value."""
    return FieldError(f'{printable(where, 100)}: got {shorten(got)}, expected {expected}')


def field_path(where: str, key: Any) -> str:
    """The name of a field inside a section; '' is the outermost section."""
    return f'{where}.{key}' if where else str(key)


def section(values: Any, where: str, required: Sequence[str], optional: Sequence[str] = ()) -> dict[str, Any]:
    """Return an object that has all required fields, and none but these and the optional ones."""
    known = [*required, *optional]
    if not isinstance(values, dict):
        raise invalid(where, values, f'an object with {", ".join(known)}')
    for key in values:
        if key not in known:
            raise invalid(field_path(where, key), values[key], f'no such field; known are {", ".join(known)}')
    for key in required:
        if key not in values:
            raise FieldError(f'{field_path(where, key)}: missing, but required: expected all of '
                             f'{", ".join(required)}')
    return values


def text(value: Any, where: str) -> str:
    """Return a non-empty string."""
    if not isinstance(value, str) or not value:
        raise invalid(where, value, 'a non-empty string')
    return value


def choice(value: Any, where: str, choices: Sequence[str]) -> Any:
    """Return one of the given texts."""
    if not isinstance(value, str) or value not in choices:
        raise invalid(where, value, f'one of {list(choices)}')
    return value


def number(value: Any, where: str, low: float, high: float) -> float:
    """Return a number in [low, high]; true and false are not numbers."""
    good = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not good or not low <= value <= high:
        raise invalid(where, value, f'a number in [{low:g}, {high:g}]')
    return float(value)


def integer(value: Any, where: str, low: int, high: int | float = math.inf) -> int:
    """Return a whole number in [low, high]; 3.0 is one too."""
    good = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not good or not low <= value <= high or value != int(value):
        upper = f' to {high}' if math.isfinite(high) else ' or more'
        raise invalid(where, value, f'a whole number, {low}{upper}')
    return int(value)


def strict_integer(value: Any, where: str, low: int, high: int | float = math.inf) -> int:
    """Return an integer in [low, high]; 3.0 is not one."""
    if type(value) is not int:
        raise invalid(where, value, 'an integer')
    return integer(value, where, low, high)


def items(value: Any, where: str, most: int) -> list[Any]:
    """Return a list of 1 to `most` items."""
    if not isinstance(value, list) or not 1 <= len(value) <= most:
        raise invalid(where, value, f'a list of 1 to {most} items')
    return value


def mapping(value: Any, where: str) -> dict[str, Any]:
    """Return an object, its fields unchecked."""
    if not isinstance(value, dict):
        raise invalid(where, value, 'an object')
    return value
