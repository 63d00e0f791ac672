# SPDX-License-Identifier: Apache-2.0
"""Text from outside, made safe to print and log."""


def one_line(text: str) -> str:
    """The text with every unprintable character escaped; letters of any script stay.

    That covers control characters (line ends and C1 among them), lone surrogates, and characters that change
    the direction of writing. The result is safe for a terminal.
    """
    return ''.join(c if c.isprintable() else c.encode('unicode_escape').decode() for c in text)


def printable(text: str, limit: int = 300) -> str:
    """`one_line` in ASCII and with at most `limit` characters: safe to log."""
    escaped = one_line(text[:limit].encode('ascii', 'backslashreplace').decode())
    return escaped if len(escaped) <= limit and len(text) <= limit else escaped[:limit - 3] + '...'
