# SPDX-License-Identifier: Apache-2.0
"""JSON from outside: stricter than Python's own reader."""

import json
import math
import re
from collections import Counter
from typing import Any

MAX_DEPTH = 16
"""Levels of nested objects and lists; the cards that ship have 5."""

# Control characters end a line or control a terminal. Direction marks reorder the displayed text: a log could
# show one label as another. Lone surrogates cannot be encoded in UTF-8.
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]')


def read_json(data: str | bytes) -> Any:
    """The values of a JSON text in UTF-8. Each integer fits in 64 bits, each float is finite.

    Raises:
        ValueError: invalid JSON; a name twice in one object; a number out of range; more than MAX_DEPTH
            levels; a string with a control character, a direction mark, or a lone surrogate.
    """
    try:
        text = data.decode('utf-8-sig') if isinstance(data, bytes) else data
        values = json.loads(text, object_pairs_hook=_object, parse_int=_integer)
    except RecursionError as error:
        raise _too_deep() from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f'it is not JSON in UTF-8: {error}') from error
    _check(values, '', 1)
    return values


def _too_deep() -> ValueError:
    return ValueError(f'more than {MAX_DEPTH} nested objects and lists; expected fewer')


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f'{twice[:80]!r} is in one object twice; expected each name once')
    return values


def _integer(text: str) -> int:
    # The length is checked first: converting a million digits takes seconds on Python 3.10.
    if len(text) > 20 or not -1 << 63 <= (value := int(text)) < 1 << 63:
        raise ValueError(f'got the number {text[:40]}, expected an integer of 64 bits')
    return value


def _check(value: Any, where: str, depth: int) -> None:
    """Check depth, numbers and strings; `where` is the path to the value, such as input.size[0]."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f'{where}: got {value}, expected a finite number')
    if isinstance(value, str):
        if found := _FORBIDDEN.search(value):
            raise ValueError(f'{where}: got {value[:80]!r}, expected one line without control characters or '
                             f'direction marks; remove U+{ord(found[0]):04X}')
    elif isinstance(value, dict | list):
        if depth > MAX_DEPTH:
            raise _too_deep()
        if isinstance(value, list):
            for i, item in enumerate(value):
                _check(item, f'{where}[{i}]', depth + 1)
            return
        for name, item in value.items():
            _check(name, f'a name in {where or "the text"}', depth)
            _check(item, f'{where}.{name[:60]}' if where else name[:60], depth + 1)
