# SPDX-License-Identifier: Apache-2.0
"""Output cannot control a terminal; JSON stays JSON; failing streams are noticed."""

import io
import json
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shufflenet_ros.core import console
from shufflenet_ros.core.text import one_line, printable

CONTROLS = {
    'escape': '\x1b[2J\x1b]0;title\x07', 'line end': 'a\nb\r\n', 'C1': '\x9b31m\x85', 'delete': '\x7f',
    'bidi': '\u202a\u202e\u2066\u2069\u200e\u200f\u061c', 'separators': '\u2028\u2029', 'surrogate': '\udcff',
}


@pytest.mark.parametrize('kind', CONTROLS)
def test_control_characters_are_escaped(kind: str) -> None:
    for text in (one_line(CONTROLS[kind]), printable(CONTROLS[kind])):
        assert text.isprintable() and '\\' in text


def test_letters_of_any_script_stay() -> None:
    text = 'Müsli, 猫, кот, גל, 1 €'
    assert one_line(text) == text
    assert printable(text).isascii()


@given(st.text())
def test_any_text_becomes_one_line_without_control_characters(text: str) -> None:
    assert not {unicodedata.category(c) for c in one_line(text)} & {'Cc', 'Cf', 'Cs', 'Zl', 'Zp'}


def test_a_line_stays_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    console.say('a\nb', f'name \x1b[31m{CONTROLS["bidi"]}')
    out = capsys.readouterr().out
    assert out.splitlines()[0] == 'a\\nb' and out.count('\n') == 2
    assert '\x1b' not in out and '\u202e' not in out


@pytest.mark.parametrize('kind', CONTROLS)
def test_json_is_ascii_and_keeps_the_text(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    console.say_json({CONTROLS[kind]: [CONTROLS[kind]]})
    line = capsys.readouterr().out
    assert line.isascii() and line[:-1].isprintable()
    assert json.loads(line) == {CONTROLS[kind]: [CONTROLS[kind]]}


def test_json_has_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    console.say_json({'NaN': [float('nan'), float('-inf'), 1.5]})
    assert capsys.readouterr().out == '{"NaN": [null, null, 1.5]}\n'


def test_any_text_can_be_printed_to_an_ascii_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding='ascii')
    monkeypatch.setattr(sys, 'stdout', stream)
    console.prepare_streams()
    console.say('猫', flush=True)
    assert stream.buffer.getvalue() == b'\\u732b\n'  # type: ignore[attr-defined]
