# SPDX-License-Identifier: Apache-2.0
"""Checks the typed fields of outside data: cards, recipes, label files, tables."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

from shufflenet_ros.core.errors import ShuffleNetError
from shufflenet_ros.core.text import printable

Readers: TypeAlias = Mapping[str, Callable[[Any, str], Any]]
"""Field name -> a function of the field's value and its full name, which returns the checked value."""
T = TypeVar('T')


class FieldError(ShuffleNetError):
    """An invalid field: `<field>: got <value>, expected <what>`. Callers add the file's name."""


def shorten(value: Any) -> str:
    """A value for a message; containers only as their size, because they can be huge."""
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
    """The name of a field in a section; '' is the outermost section."""
    return f'{where}.{key}' if where else str(key)


def section(values: Any, where: str, required: Sequence[str], optional: Sequence[str] = ()) -> dict[str, Any]:
    """Return an object that has all required fields, and no unknown ones."""
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


def read_fields(value: Any, where: str, readers: Readers, required: Sequence[str] = ()) -> dict[str, Any]:
    """Return an object's fields, each read by its reader."""
    values = section(value, where, required, [name for name in readers if name not in required])
    return {name: readers[name](x, field_path(where, name)) for name, x in values.items()}


def record(kind: type[T], value: Any, where: str, readers: Readers) -> T:
    """Return a dataclass made from an object; fields without a default are required."""
    required = [field.name for field in dataclasses.fields(kind)  # type: ignore[arg-type]
                if field.default is field.default_factory is dataclasses.MISSING]
    return kind(**read_fields(value, where, readers, required))


def string(value: Any, where: str) -> str:
    """Return a string."""
    if not isinstance(value, str):
        raise invalid(where, value, 'a string')
    return value


def text(value: Any, where: str) -> str:
    """Return a non-empty string."""
    if not isinstance(value, str) or not value:
        raise invalid(where, value, 'a non-empty string')
    return value


def choice(value: Any, where: str, choices: Sequence[str]) -> Any:
    """Return one of the given strings."""
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
    """Return a whole number in [low, high]; 3.0 counts as one."""
    good = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not good or not low <= value <= high or value != int(value):
        upper = f' to {high}' if math.isfinite(high) else ' or more'
        raise invalid(where, value, f'a whole number, {low}{upper}')
    return int(value)


def strict_integer(value: Any, where: str, low: int, high: int | float = math.inf) -> int:
    """Return an integer in [low, high]; 3.0 does not count."""
    if type(value) is not int:
        raise invalid(where, value, 'an integer')
    return integer(value, where, low, high)


def items(value: Any, where: str, most: int) -> list[Any]:
    """Return a list of 1 to `most` items."""
    if not isinstance(value, list) or not 1 <= len(value) <= most:
        raise invalid(where, value, f'a list of 1 to {most} items')
    return value


def mapping(value: Any, where: str) -> dict[str, Any]:
    """Return an object with any fields."""
    if not isinstance(value, dict):
        raise invalid(where, value, 'an object')
    return value
