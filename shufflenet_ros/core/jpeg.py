# SPDX-License-Identifier: Apache-2.0
"""JPEG's markers around the entropy-coded data: size and true end (ITU-T T.81, annex B)."""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from shufflenet_ros.core.reasons import DropReason, FrameError, malformed, truncated

MAGIC = b'\xff\xd8\xff'
MAX_SEGMENTS = 4096
HEADER_BYTES = 1 << 20  # the frame header must be in the first of these
MAX_FILL_BYTES = 64  # between segments; no camera sends more in a row, and searching them is slow
MAX_SCANS = 32  # progressive images have about 10; each scan is a pass over all pixels, however short it is

_EOI, _SOS, _PROGRESSIVE = 0xD9, 0xDA, 0xC2
_DECODED = frozenset((0xC0, 0xC1, _PROGRESSIVE))  # baseline, extended, progressive: every decoder reads these
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_TABLES = frozenset((0xC4, 0xDB, 0xDD))
# Frames, tables, scans, comments, application segments: everything allowed between start and end.
_KNOWN = _FRAMES | _TABLES | frozenset((_SOS, 0xFE)) | frozenset(range(0xE0, 0xF0))
# In entropy-coded data FF 00 is a byte FF, and FF D0 to FF D7 are restarts: they do not end the data.
_MARKER = re.compile(rb'\xff(?:[^\x00\xff\xd0-\xd7]|\xff{%d})' % MAX_FILL_BYTES)
_SLICE = 1 << 16  # bytes per search, because a search holds the GIL


@dataclass(frozen=True)
class JpegHeader:
    """The values of a JPEG's frame header."""

    width: int
    height: int
    channels: int
    progressive: bool


def jpeg_header(data: memoryview) -> JpegHeader:
    """The frame header's values; sides are not checked.

    Raises:
        FrameError: TRUNCATED, or BAD_FORMAT if it is not 8-bit gray or three-channel Huffman-coded JPEG.
    """
    head = data[:HEADER_BYTES]
    try:
        for marker, body in _segments(head):
            if marker in _FRAMES:
                return _frame_header(marker, body)
            if marker in (_SOS, _EOI):
                break
    except FrameError as dropped:
        if dropped.reason is not DropReason.TRUNCATED or len(head) == len(data):
            raise
    raise malformed(f'JPEG without a frame header before its data, or in its first {HEADER_BYTES} bytes')


def jpeg_payload(data: memoryview) -> memoryview:
    """The image up to its end-of-image marker; some cameras send padding after that.

    The end marker of a thumbnail inside a header segment does not count.

    Raises:
        FrameError: TRUNCATED if the end-of-image marker is missing, or the data cannot fill the image;
            BAD_FORMAT for more frames or other scans than an image has.
    """
    frames: list[JpegHeader] = []
    scans: list[int] = []
    trailing, unused_tables = 0, False
    for marker, body in _segments(data):
        unused_tables = marker in _TABLES or (unused_tables and marker != _SOS)
        if marker in _FRAMES:
            frames.append(_frame_header(marker, body))
        elif marker == _SOS:
            scans.append(body[0] if body else 0)
        elif marker == _EOI:
            trailing = len(body)
    if len(frames) != 1 or unused_tables:
        raise malformed(f'JPEG with {len(frames)} frame headers (expected 1) or tables after the last scan')
    payload = data[:len(data) - trailing]
    _check_scans(frames[0], scans)
    blocks = -(-frames[0].width // 8) * -(-frames[0].height // 8)
    if 8 * len(payload) < blocks:  # each 8 x 8 block needs at least one bit
        raise _truncated(payload, f'too few for {frames[0].width}x{frames[0].height} pixels')
    return payload


def _check_scans(frame: JpegHeader, scans: list[int]) -> None:
    """Check how many channels the scans have: without progression each channel comes once."""
    if not frame.progressive and sum(scans) != frame.channels:
        raise malformed(f'JPEG whose scans carry {sum(scans)} channels, expected {frame.channels}')
    if not 1 <= len(scans) <= MAX_SCANS:
        raise malformed(f'JPEG of {len(scans)} scans, expected 1 to {MAX_SCANS}')


def _frame_header(marker: int, body: memoryview) -> JpegHeader:
    if marker not in _DECODED:
        raise malformed(f'JPEG of kind SOF{marker - 0xC0}, expected baseline or progressive, Huffman-coded',
                        'set the camera to one of them')
    if len(body) < 6 or len(body) != 6 + 3 * body[5]:
        raise malformed('JPEG with a malformed frame header')
    precision, height, width, channels = struct.unpack('>BHHB', body[:6])
    if precision != 8 or channels not in (1, 3):
        raise malformed(f'JPEG of {precision} bits and {channels} channels, expected 8 bits and 1 (gray) or '
                        '3 (color)', 'set the camera to one of them')
    return JpegHeader(width, height, channels, marker == _PROGRESSIVE)


def _segments(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """(marker, segment body) pairs. EOI is the last; its body is what follows the image."""
    position = 2
    for _ in range(MAX_SEGMENTS):
        position = _after_marker(data, position)
        marker = data[position - 1]
        if marker == 0xFF:
            raise malformed(f'JPEG with more than {MAX_FILL_BYTES} fill bytes ff in a row')
        if marker == _EOI:
            yield marker, data[position:]
            return
        if marker not in _KNOWN:
            raise malformed(f'JPEG with an unknown marker ff {marker:02x}')
        length = int.from_bytes(data[position:position + 2], 'big')
        if position + max(length, 2) > len(data):
            raise _truncated(data, 'inside a header segment')
        if length < 2:
            raise malformed(f'JPEG segment ff {marker:02x} of length {length}, expected at least 2')
        yield marker, data[position + 2:position + length]
        position += length
    raise malformed(f'JPEG with more than {MAX_SEGMENTS} segments')


def _after_marker(data: memoryview, position: int) -> int:
    """The position after the next marker or run of too many fill bytes; the byte before it tells which."""
    for start in range(position, len(data), _SLICE):
        if found := _MARKER.search(data, start, start + _SLICE + MAX_FILL_BYTES):
            return found.end()
    raise _truncated(data, 'without an end-of-image marker')


def _truncated(data: memoryview, what: str) -> FrameError:
    return truncated(f'JPEG ends after {len(data)} bytes, {what}')
