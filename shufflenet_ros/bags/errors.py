"""What goes wrong with bags, as one error class."""

from collections.abc import Iterator
from contextlib import contextmanager

from shufflenet_ros.core.errors import ShuffleNetError


class BagError(ShuffleNetError):
    """A bag or a message in it that cannot be read or written; the message says which, why and what to do."""


@contextmanager
def bag_errors(what: str, remedy: str = '') -> Iterator[None]:
    """Turn whatever rosbags raises into a BagError.

    Damaged bags make it raise some twenty classes (assertions, struct, KeyError, apsw, zstd, ...), so
    everything but a request to stop is caught.
    """
    try:
        yield
    except Exception as error:
        reason = str(error).strip("'") or type(error).__name__
        tail = f': {remedy}' if remedy else ''
        raise BagError(f'{what} cannot be read ({reason[:300]}){tail}') from error
