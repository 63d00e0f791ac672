"""Why a frame got no answer: one closed list, used by counters, diagnostics, logs and JSON lines."""

from enum import Enum


class Reason(str, Enum):
    """How a frame that is neither published nor superseded ended."""

    BAD_SIZE = 'bad_size'
    BAD_STEP = 'bad_step'
    SHORT_DATA = 'short_data'
    LONG_DATA = 'long_data'
    BAD_ENCODING = 'bad_encoding'
    NON_FINITE = 'non_finite'
    TOO_LARGE = 'too_large'
    TOO_SMALL = 'too_small'
    TRUNCATED = 'truncated'
    BAD_FORMAT = 'bad_format'
    STALE = 'stale'
    THROTTLED = 'throttled'
    NO_MEMORY = 'no_memory'
    BACKEND_ERROR = 'backend_error'

    def __str__(self) -> str:
        return self.value


class FrameError(Exception):
    """This frame gets no answer.

    Attributes:
        reason: one of the closed list.
        detail: what came, what was expected, what to do; at most 300 characters, printable.
    """

    def __init__(self, reason: Reason, detail: str):
        self.reason = reason
        self.detail = printable(detail)
        super().__init__(f'{reason}: {self.detail}')


def one_line(text: str) -> str:
    """The text with every character escaped that does not print as itself; letters of any script stay.

    Escaped are control characters (line ends and C1 among them), lone surrogates, and characters that turn
    the direction of writing: safe for a terminal.
    """
    return ''.join(c if c.isprintable() else c.encode('unicode_escape').decode() for c in text)


def printable(text: str, limit: int = 300) -> str:
    """`one_line` with non-ASCII characters escaped too, and its length capped: safe to log."""
    escaped = one_line(text[:limit].encode('ascii', 'backslashreplace').decode())
    return escaped if len(escaped) <= limit and len(text) <= limit else escaped[:limit - 3] + '...'
