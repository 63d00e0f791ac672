# SPDX-License-Identifier: Apache-2.0
"""Terminal output of commands. Text from outside cannot control the terminal; write errors are reported."""

import io
import json
import os
import sys
from typing import Any, TextIO

from shufflenet_ros.core.errors import ShuffleNetError
from shufflenet_ros.core.text import one_line


class OutputError(ShuffleNetError):
    """Standard output failed and output is lost; the message says why."""


def prepare_streams() -> None:
    """Make any text printable in any locale, and replace streams that the caller has closed.

    Otherwise the next file to be opened would get the number of a closed stream. Writing to a closed standard
    output fails, as it should; text for a closed standard error is dropped.
    """
    for number, name in enumerate(('stdin', 'stdout', 'stderr')):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_WRONLY if name == 'stderr' else os.O_RDONLY)
            if descriptor != number:
                os.dup2(descriptor, number)
                os.close(descriptor)
            mode = 'r' if name == 'stdin' else 'w'
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors='backslashreplace')


def say(*lines: str, to: TextIO | None = None, flush: bool = False) -> None:
    """Write lines for people to standard output, or to another stream.

    Control characters and characters that change the writing direction are escaped, so a line stays one
    line whatever a name or label contains.

    Raises:
        BrokenPipeError: the reader of standard output is gone.
        OutputError: standard output cannot be written.
    """
    _write(''.join(f'{one_line(line)}\n' for line in lines), to or sys.stdout, flush)


def say_json(value: Any, flush: bool = False) -> None:
    """Write a value to standard output as one line of JSON in ASCII.

    NaN and infinity, which JSON does not have, become null.

    Raises:
        BrokenPipeError, OutputError: see `say`.
    """
    text = json.dumps(value)
    if 'NaN' in text or 'Infinity' in text:
        text = json.dumps(json.loads(text, parse_constant=lambda name: None))
    _write(text.replace('\x7f', '\\u007f') + '\n', sys.stdout, flush)


def flush_output() -> None:
    """Flush standard output.

    Raises:
        BrokenPipeError, OutputError: see `say`.
    """
    _write('', sys.stdout, flush=True)


def _write(text: str, stream: TextIO, flush: bool) -> None:
    try:
        stream.write(text)
        if flush:
            stream.flush()
    except OSError as error:
        # The interpreter flushes once more at exit; that must not fail too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        if stream is not sys.stdout:
            return  # nowhere to report it
        if isinstance(error, BrokenPipeError):
            raise
        raise OutputError(f'standard output cannot be written: {error.strerror}; send it somewhere else, '
                          'for example to a file on a disk with free space') from error
