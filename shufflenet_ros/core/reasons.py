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


REMEDIES: dict[DropReason, tuple[str, str]] = {
    DropReason.BAD_ENCODING: (
        'the encoding is not supported, such as depth (16UC1, 32FC1, 16-bit PNG) or 16-bit Bayer',
        "subscribe to the camera's color or mono image (docs/troubleshooting.md#encodings)"),
    DropReason.BAD_FORMAT: (
        'the data are not a JPEG or PNG (such as compressedDepth), or cannot be decoded',
        'set the camera or the republisher to JPEG or PNG; check the link'),
    DropReason.TRUNCATED: ('a JPEG or PNG ends early', 'check the link and the message size limits'),
    DropReason.BAD_SIZE: ('a side is 0 or above 65535, or odd where pixels share chroma (YUV)',
                          'check the driver'),
    DropReason.BAD_STEP: ('`step` does not fit the width and the encoding', 'check the driver'),
    DropReason.SHORT_DATA: ('fewer bytes than the size and encoding require', 'check the driver'),
    DropReason.LONG_DATA: ('more bytes than the size and encoding require', 'check the driver'),
    DropReason.TOO_LARGE: ('the image has more than `max_pixels`',
                           'lower the resolution, or raise `max_pixels`'),
    DropReason.TOO_SMALL: ('nothing is left after the center crop, or Bayer below 3x3', 'use larger images'),
    DropReason.STALE: (
        'the stamp is older than `max_age_s`, or the node was deactivated before the result',
        'check the clocks and the network, or raise `max_age_s`'),
    DropReason.THROTTLED: ('the camera is faster than `max_rate_hz`',
                           'none: this is what `max_rate_hz` is for'),
    DropReason.NON_FINITE: ('the model returned NaN or infinity',
                            'check the model: `shufflenet-ros models check`'),
    DropReason.NO_MEMORY: ('memory ran out', 'use smaller images'),
    DropReason.BACKEND_ERROR: (
        'inference, or publishing the result, failed with an unexpected error',
        'the log has the error; please report it'),
}
"""Cause and remedy of each reason, for `shufflenet-ros doctor` and docs/troubleshooting.md."""


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
