# SPDX-License-Identifier: Apache-2.0
"""Text from outside, made safe to print and log."""


def one_line(text: str) -> str:
    """The text with unprintable characters escaped, safe for a terminal; letters of any script stay.

    Unprintable are control characters (with line ends and C1), lone surrogates, and characters that change
    the writing direction.
    """
    return ''.join(c if c.isprintable() else c.encode('unicode_escape').decode() for c in text)


def printable(text: str, limit: int = 300) -> str:
    """`one_line` in ASCII and with at most `limit` characters: safe to log."""
    escaped = one_line(text[:limit].encode('ascii', 'backslashreplace').decode())
    return escaped if len(escaped) <= limit and len(text) <= limit else escaped[:limit - 3] + '...'
