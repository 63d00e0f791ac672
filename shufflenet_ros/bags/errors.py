# SPDX-License-Identifier: Apache-2.0
"""The error for bags that cannot be read."""

from collections.abc import Iterator
from contextlib import contextmanager

from shufflenet_ros.core.errors import ShuffleNetError


class BagError(ShuffleNetError):
    """A bag or message that cannot be read or written. The text says which, why and what to do."""


@contextmanager
def bag_errors(what: str, remedy: str = '') -> Iterator[None]:
    """Turn any error of rosbags into a BagError.

    Damaged bags make it raise about twenty exception classes (AssertionError, struct.error, KeyError, apsw,
    zstd, ...), so every Exception is caught.
    """
    try:
        yield
    except Exception as error:
        reason = str(error).strip("'") or type(error).__name__
        tail = f': {remedy}' if remedy else ''
        raise BagError(f'{what} cannot be read ({reason[:300]}){tail}') from error
