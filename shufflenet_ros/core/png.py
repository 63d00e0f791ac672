"""PNG's frame around the compressed pixels: size, true end and checksums (ISO/IEC 15948)."""

import zlib
from collections.abc import Iterator

from shufflenet_ros.core.reasons import Dropped, Reason

MAGIC = b'\x89PNG\r\n\x1a\n'
MAX_CHUNKS = 1 << 16
_HEADER_BYTES = 13
_CRITICAL = frozenset((b'IHDR', b'PLTE', b'IDAT', b'IEND'))


def png_size(data: memoryview) -> tuple[int, int]:
    """(width, height) from the header chunk.

    Raises:
        Dropped: TRUNCATED; BAD_FORMAT where the header chunk is not the first or damaged.
    """
    kind, chunk = next(_chunks(data))
    if kind != b'IHDR' or len(chunk) != _HEADER_BYTES + 12:
        raise Dropped(Reason.BAD_FORMAT, f'PNG begins with a chunk {kind!r} of {len(chunk) - 12} bytes: '
                                         f'expected IHDR of {_HEADER_BYTES}')
    return int.from_bytes(chunk[8:12], 'big'), int.from_bytes(chunk[12:16], 'big')


def png_payload(data: memoryview) -> bytes:
    """The picture of its critical chunks alone.

    What is left out: texts and profiles (which may be bombs), gamma, transparency, orientation and the
    further frames of an APNG. So each OpenCV version gives the same pixels.

    Raises:
        Dropped: TRUNCATED where the data stop before the end chunk; BAD_FORMAT for a checksum that does not
            fit, an unknown critical chunk, no pixels.
    """
    parts: list[bytes | memoryview] = [MAGIC]
    has_pixels = False
    for kind, chunk in _chunks(data):
        if kind in _CRITICAL:
            parts.append(chunk)
        has_pixels |= kind == b'IDAT'
    if not has_pixels:
        raise Dropped(Reason.BAD_FORMAT, 'PNG without pixels')
    return b''.join(parts)


def _chunks(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """(kind, whole chunk) up to and with IEND; sums of critical ones are checked, none is inflated."""
    position = len(MAGIC)
    for _ in range(MAX_CHUNKS):
        kind = bytes(data[position + 4:position + 8])
        end = position + 12 + int.from_bytes(data[position:position + 4], 'big')
        if position + 12 > len(data) or end > len(data):
            raise Dropped(Reason.TRUNCATED, f'PNG ends after {len(data)} bytes, inside a chunk: it was cut '
                                            'on its way; check the camera link and the message size limits')
        is_ancillary = kind.isalpha() and kind[:1].islower()
        if not is_ancillary and kind not in _CRITICAL:
            raise Dropped(Reason.BAD_FORMAT, f'PNG with an unknown critical chunk {kind!r}')
        checksum = int.from_bytes(data[end - 4:end], 'big')
        if not is_ancillary and zlib.crc32(data[position + 4:end - 4]) != checksum:
            raise Dropped(Reason.BAD_FORMAT, f'PNG chunk {kind!r} does not fit its sum: damaged on its way')
        yield kind, data[position:end]
        if kind == b'IEND':
            return
        position = end
    raise Dropped(Reason.BAD_FORMAT, f'PNG with more than {MAX_CHUNKS} chunks')
