# SPDX-License-Identifier: Apache-2.0
"""PNG checked and unpacked: size, true end, checksums, and exactly the pixels' bytes (ISO/IEC 15948).

The pixels are inflated here, up to a limit, and passed to OpenCV in stored blocks. libpng alone would also
inflate everything after the last row. Inflating both here and in libpng would take 1.5 times as long.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from shufflenet_ros.core.reasons import malformed, truncated

MAGIC = b'\x89PNG\r\n\x1a\n'
MAX_OTHER_CHUNKS = 256  # without pixels: texts, profiles, further frames of an APNG
MAX_PIXEL_CHUNKS, SMALL_PIXEL_CHUNK = 1024, 4096  # more chunks than this must be larger on average

_HEADER_BYTES = 13
_CRITICAL = frozenset((b'IHDR', b'PLTE', b'IDAT', b'IEND'))
# Bytes in and out per call: they fit the cache, and make few calls. Photos compress to about half, so a call
# mostly uses up its input; zlib would copy the rest.
_PACKED_PIECE, _PIECE = 1 << 14, 1 << 15
_ZLIB_HEADER, _ZLIB_CHECKSUM = 2, 4  # bytes before and after the compressed data
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by color type
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
# Left, top, column step and row step of each pass over an interlaced image.
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


@dataclass(frozen=True)
class PngHeader:
    """The values of a PNG's header chunk."""

    width: int
    height: int
    depth: int
    color_type: int
    interlaced: bool

    @property
    def is_gray_16(self) -> bool:
        """Whether it has one 16-bit channel, as depth does."""
        return (self.depth, self.color_type) == (16, 0)

    @property
    def filtered_bytes(self) -> int:
        """Bytes that the compressed pixels must inflate to: all rows, each with its filter type."""
        bits = self.depth * _CHANNELS[self.color_type]
        total = 0
        for left, top, across, down in _ADAM7 if self.interlaced else ((0, 0, 1, 1),):
            width, height = -(-(self.width - left) // across), -(-(self.height - top) // down)
            if width > 0 and height > 0:
                total += height * (1 + -(-width * bits // 8))
        return total


def png_header(data: memoryview) -> PngHeader:
    """The header chunk's values; sides are not checked.

    Raises:
        FrameError: TRUNCATED; BAD_FORMAT if the header chunk is not the first, or is not valid.
    """
    kind, chunk = next(_chunks(data))
    if kind != b'IHDR' or len(chunk) != _HEADER_BYTES + 12:
        raise malformed(f'PNG begins with a chunk {kind!r} of {len(chunk) - 12} bytes, expected IHDR of '
                        f'{_HEADER_BYTES}')
    width, height, depth, color_type, _, _, interlace = struct.unpack('>IIBBBBB', chunk[8:21])
    if depth not in _DEPTHS.get(color_type, ()) or interlace > 1:
        raise malformed(f'PNG of {depth} bits, color type {color_type}, interlace {interlace}: no such kind')
    return PngHeader(width, height, depth, color_type, interlace == 1)


def png_payload(data: memoryview) -> bytearray:
    """The file with only its critical chunks, and the pixels in stored blocks.

    Texts and profiles (which may be bombs), gamma, transparency, orientation and the further frames of an
    APNG are left out, so all OpenCV versions give the same pixels.

    Raises:
        FrameError: TRUNCATED if the end chunk is missing; BAD_FORMAT for a wrong checksum, an unknown
            critical chunk, too many chunks, or pixels that inflate to another size than the header's.
    """
    header = png_header(data)
    payload, packed = bytearray(MAGIC), []
    for kind, chunk in _chunks(data):
        if kind == b'IDAT':
            packed.append(chunk[8:-4])
        elif kind in _CRITICAL and kind != b'IEND':
            payload += chunk
    try:
        _append_stored(payload, memoryview(b''.join(packed)), header.filtered_bytes)
    except zlib.error as error:
        raise malformed(f'PNG pixels cannot be inflated: {error}') from error
    _append_chunk(payload, b'IEND')
    return payload


def _append_stored(payload: bytearray, packed: memoryview, expected: int) -> None:
    """Append `packed`, which must inflate to `expected` bytes, as chunks of one stored block each."""
    _append_chunk(payload, b'IDAT', packed[:_ZLIB_HEADER])
    got = 0
    for piece in _inflated(packed):
        got += len(piece)
        if got > expected:
            break
        _append_chunk(payload, b'IDAT', struct.pack('<BHH', got == expected, len(piece),
                                                    len(piece) ^ 0xFFFF), piece)
    if got != expected:
        size = f'{got}' if got < expected else f'more than {expected}'
        raise malformed(f"PNG pixels inflate to {size} bytes, expected {expected} for the header's size",
                        'damaged, or made to waste time')
    _append_chunk(payload, b'IDAT', packed[-_ZLIB_CHECKSUM:])


def _append_chunk(payload: bytearray, kind: bytes, *parts: bytes | memoryview) -> None:
    payload += struct.pack('>I', sum(map(len, parts))) + kind
    checksum = zlib.crc32(kind)
    for part in parts:
        payload += part
        checksum = zlib.crc32(part, checksum)
    payload += struct.pack('>I', checksum)


def _inflated(packed: memoryview) -> Iterator[bytes]:
    """Inflate a zlib stream, piece by piece; its header and checksum are left to libpng.

    Work and memory are bounded by how many pieces the caller takes.

    Raises:
        zlib.error: damage, no end, or bytes after the end.
    """
    stream, position = zlib.decompressobj(-zlib.MAX_WBITS), _ZLIB_HEADER
    while position < len(packed) and not stream.eof:
        rest: bytes | memoryview = packed[position:position + _PACKED_PIECE]
        position += len(rest)
        while rest and not stream.eof:
            if piece := stream.decompress(rest, _PIECE):
                yield piece
            rest = stream.unconsumed_tail
    after = len(packed) - position + len(stream.unused_data)
    if not stream.eof or after != _ZLIB_CHECKSUM:
        raise zlib.error('incomplete stream' if after < _ZLIB_CHECKSUM else 'bytes after the stream')


def _chunks(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """(kind, whole chunk) up to and including IEND; checksums of critical chunks are checked."""
    position = len(MAGIC)
    pixel_chunks, other_chunks = MAX_PIXEL_CHUNKS + len(data) // SMALL_PIXEL_CHUNK, MAX_OTHER_CHUNKS
    while pixel_chunks >= 0 and other_chunks >= 0:
        kind = bytes(data[position + 4:position + 8])
        end = position + 12 + int.from_bytes(data[position:position + 4], 'big')
        if position + 12 > len(data) or end > len(data):
            raise truncated(f'PNG ends after {len(data)} bytes, inside a chunk')
        is_ancillary = kind.isalpha() and kind[:1].islower()
        if not is_ancillary and kind not in _CRITICAL:
            raise malformed(f'PNG with an unknown critical chunk {kind!r}')
        checksum = int.from_bytes(data[end - 4:end], 'big')
        if not is_ancillary and zlib.crc32(data[position + 4:end - 4]) != checksum:
            raise malformed(f'PNG chunk {kind!r} with a wrong checksum')
        yield kind, data[position:end]
        if kind == b'IEND':
            return
        position = end
        pixel_chunks, other_chunks = pixel_chunks - (kind == b'IDAT'), other_chunks - (kind != b'IDAT')
    raise malformed(f'PNG of too many chunks, expected at most {MAX_OTHER_CHUNKS}, and {MAX_PIXEL_CHUNKS} of '
                    f'pixels below {SMALL_PIXEL_CHUNK} bytes')
