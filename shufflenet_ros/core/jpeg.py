"""JPEG's frame around the entropy-coded data: size and true end (ITU-T T.81, annex B)."""

import re
from collections.abc import Iterator

from shufflenet_ros.core.reasons import Dropped, Reason

MAGIC = b'\xff\xd8\xff'
MAX_SEGMENTS = 4096
MAX_SCANS = 32  # a progressive picture has about 10; each, however few its bytes, is a pass over all pixels

_SOI, _EOI, _SOS, _TEM = 0xD8, 0xD9, 0xDA, 0x01
_SIZED = frozenset((0xC0, 0xC1, 0xC2))  # baseline, extended, progressive: what every decoder reads
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# In entropy-coded data FF 00 stands for a byte FF and FF D0 to FF D7 are restarts: neither ends the data.
_MARKER = re.compile(rb'\xff[^\x00\xff\xd0-\xd7]', re.DOTALL)


def jpeg_size(data: memoryview) -> tuple[int, int]:
    """(width, height) from the frame header.

    Raises:
        Dropped: TRUNCATED, or BAD_FORMAT where it is not 8-bit grey or three-channel Huffman-coded JPEG.
    """
    for marker, body in _segments(data):
        if marker in _FRAMES:
            return _frame_size(marker, body)
        if marker in (_SOS, _EOI):
            break
    raise Dropped(Reason.BAD_FORMAT, 'JPEG without a frame header before its data')


def jpeg_payload(data: memoryview) -> memoryview:
    """The picture from its start to its end-of-image marker, without what follows.

    Bytes after the end are padding that some cameras send. A thumbnail's own end inside a header segment
    does not count.

    Raises:
        Dropped: TRUNCATED where the data stop before their end-of-image marker; BAD_FORMAT for no scan, or
            more frames or scans than a picture has.
    """
    frames = scans = trailing = 0
    for marker, body in _segments(data):
        frames += marker in _FRAMES
        scans += marker == _SOS
        if frames > 1 or scans > MAX_SCANS:
            raise Dropped(Reason.BAD_FORMAT, f'JPEG with more than 1 frame or {MAX_SCANS} scans: '
                                             'no camera sends that')
        trailing = len(body) if marker == _EOI else 0
    if not scans:
        raise Dropped(Reason.BAD_FORMAT, 'JPEG without picture data')
    return data[:len(data) - trailing]


def _frame_size(marker: int, body: memoryview) -> tuple[int, int]:
    if marker not in _SIZED:
        raise Dropped(Reason.BAD_FORMAT, f'JPEG of kind SOF{marker - 0xC0}: '
                                         'expected baseline or progressive with Huffman codes')
    if len(body) < 6 or len(body) != 6 + 3 * body[5]:
        raise Dropped(Reason.BAD_FORMAT, 'JPEG with a malformed frame header')
    precision, channels = body[0], body[5]
    if precision != 8 or channels not in (1, 3):
        raise Dropped(Reason.BAD_FORMAT, f'JPEG of {precision} bits and {channels} channels: '
                                         'expected 8 bits and 1 (grey) or 3 (colour)')
    return int.from_bytes(body[3:5], 'big'), int.from_bytes(body[1:3], 'big')


def _segments(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """(marker, its segment's body), ending with EOI, whose body is what follows the picture."""
    position = 2
    for _ in range(MAX_SEGMENTS):
        found = _MARKER.search(data, position)
        if found is None:
            raise _truncated(data, 'no end-of-image marker')
        marker, position = data[found.end() - 1], found.end()
        if marker == _EOI:
            yield marker, data[position:]
            return
        if marker in (_SOI, _TEM):
            continue
        length = int.from_bytes(data[position:position + 2], 'big')
        if position + max(length, 2) > len(data):
            raise _truncated(data, 'a header segment goes on')
        if length < 2:
            raise Dropped(Reason.BAD_FORMAT, f'JPEG segment {marker:02x} of {length} bytes: expected 2 or more')
        yield marker, data[position + 2:position + length]
        position += length
    raise Dropped(Reason.BAD_FORMAT, f'JPEG with more than {MAX_SEGMENTS} segments')


def _truncated(data: memoryview, what: str) -> Dropped:
    return Dropped(Reason.TRUNCATED, f'JPEG ends after {len(data)} bytes, {what}: it was cut on its way; '
                                     'check the camera link and the message size limits')
