# SPDX-License-Identifier: Apache-2.0
"""JSON from outside: what Python's reader silently accepts is rejected, and the error says where."""

import json
import time
from typing import Any

import pytest

from shufflenet_ros.core.strict_json import MAX_DEPTH, read_json


def nested(levels: int) -> str:
    """Lists and objects in turn."""
    kinds = [('[', ']') if i % 2 else ('{"a": ', '}') for i in range(levels)]
    return ''.join(a for a, _ in kinds) + '1' + ''.join(b for _, b in reversed(kinds))


@pytest.mark.parametrize(('text', 'values'), [
    ('{"a": [1, -2.5e3, true, null]}', {'a': [1, -2500.0, True, None]}),
    (b'\xef\xbb\xbf{"a": "\xc3\xa9"}', {'a': 'é'}),  # with the mark that some editors write
    ('"Pekin\\u00e8s, M\\u00fcnsterl\\u00e4nder, \\u72ac"', 'Pekinès, Münsterländer, 犬'),
    ('"\\ud83d\\udc15"', '🐕'),  # a whole pair is a character
    ('"\\u0646\\u06cc\\u0645\\u200c\\u0641"', 'نیم‌ف'),  # Persian needs the non-joiner
    (str(2 ** 63 - 1), 2 ** 63 - 1), (str(-2 ** 63), -2 ** 63),
])
def test_valid_json_is_read_as_python_reads_it(text: str | bytes, values: Any) -> None:
    assert read_json(text) == values
    assert json.loads(text) == values


def test_levels_are_counted() -> None:
    assert read_json(nested(MAX_DEPTH)) == json.loads(nested(MAX_DEPTH))
    for levels in (MAX_DEPTH + 1, 900, 100_000):
        with pytest.raises(ValueError, match=f'more than {MAX_DEPTH} nested objects'):
            read_json(nested(levels))


@pytest.mark.parametrize(('text', 'cause'), [
    ('{"a": 1, "b": 2, "a": 1}', "'a' is in one object twice"),
    ('{"x": {"a": 1, "\\u0061": 2}}', "'a' is in one object twice"),
    ('{"x": [NaN]}', r'x\[0\]: got nan'), ('{"x": Infinity}', 'x: got inf'), ('-Infinity', 'got -inf'),
    ('{"x": 1e999}', 'x: got inf'), ('{"x": {"y": -1e999}}', 'x.y: got -inf'),
    (str(2 ** 63), 'integer of 64 bits'), (str(-2 ** 63 - 1), 'integer of 64 bits'),
    ('', 'not JSON'), ('{', 'not JSON'), ('[1,]', 'not JSON'), (b'\xff\xfe{}', 'not JSON in UTF-8'),
    ('{"a": 1}'.encode('utf-16'), 'not JSON in UTF-8'), (b'"\xed\xa0\x80"', 'not JSON in UTF-8'),
])
def test_json_that_only_python_accepts_is_rejected(text: str | bytes, cause: str) -> None:
    with pytest.raises(ValueError, match=cause) as rejected:
        read_json(text)
    assert len(str(rejected.value)) < 300


@pytest.mark.parametrize('code', [
    0, 9, 10, 0x1B, 0x7F, 0x80, 0x85, 0x9B, 0x9F, 0x61C, 0x200E, 0x200F, 0x2028, 0x2029, 0x202A, 0x202E,
    0x2066, 0x2069, 0xD800, 0xDBFF, 0xDC00, 0xDFFF,
])
def test_strings_that_no_log_can_show_are_rejected(code: int) -> None:
    for values, where in (([f'a{chr(code)}b'], r'\[0\]'), ({'x': {'y': chr(code)}}, 'x.y'),
                          ({f'a{chr(code)}': 1}, 'a name in')):
        with pytest.raises(ValueError, match=rf'{where}.*U\+{code:04X}') as rejected:
            read_json(json.dumps(values))
        str(rejected.value).encode()  # the message itself can be written anywhere
        assert str(rejected.value).isprintable()


def test_a_number_of_a_million_digits_is_rejected_fast() -> None:
    start = time.process_time()
    with pytest.raises(ValueError, match='integer of 64 bits'):
        read_json('1' * 1_000_000)
    # Processor time, because the cost is the point: Python 3.10.0 needs 6 s, and we 2 ms.
    assert time.process_time() - start < 1
