# SPDX-License-Identifier: Apache-2.0
"""Why a frame was dropped: one closed list for counters, diagnostics, logs and JSON lines."""

from enum import Enum

from shufflenet_ros.core.text import printable


class DropReason(str, Enum):
    """Why a frame was dropped: neither published nor superseded."""

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
    """This frame gets no result.

    Attributes:
        detail: the value, what was expected, and what to do; printable, at most 300 characters.
    """

    def __init__(self, reason: DropReason, detail: str):
        self.reason = reason
        self.detail = printable(detail)
        super().__init__(f'{reason}: {self.detail}')


def malformed(what: str, remedy: str = 'damaged in transit') -> FrameError:
    """The error for a file that is not valid JPEG or PNG."""
    return FrameError(DropReason.BAD_FORMAT, f'{what}; {remedy}')


def truncated(what: str) -> FrameError:
    """The error for a file that ends early."""
    return FrameError(DropReason.TRUNCATED, f'{what}: truncated in transit; check the camera link and the '
                                            'message size limits')
