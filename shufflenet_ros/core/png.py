# SPDX-License-Identifier: Apache-2.0
"""PNG checked and unpacked: size, true end, checksums, and exactly the pixels' bytes (ISO/IEC 15948).

The pixels are inflated here, with a bound, and handed to OpenCV in stored blocks. libpng alone would inflate
everything that follows the last row, no matter how much. Inflating twice, once here to bound it and once in
libpng, would cost half as much again as decoding.
"""

import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from shufflenet_ros.core.reasons import malformed, truncated

MAGIC = b'\x89PNG\r\n\x1a\n'
MAX_OTHER_CHUNKS = 256  # those without pixels: texts, profiles, further frames of an APNG
MAX_PIXEL_CHUNKS, SMALL_PIXEL_CHUNK = 1024, 4096  # more chunks than this must be larger on average

_HEADER_BYTES = 13
_CRITICAL = frozenset((b'IHDR', b'PLTE', b'IDAT', b'IEND'))
_PIECE = 1 << 15  # bytes inflated a call, in and out: fits the cache, and makes few calls
_ZLIB_HEADER, _ZLIB_CHECKSUM = 2, 4  # bytes before and after the compressed data
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by color type
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
# Left, top, column step and row step of each pass over an interlaced image.
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


@dataclass(frozen=True)
class PngHeader:
    """What a PNG's header chunk says of the image."""

    width: int
    height: int
    depth: int
    color_type: int
    interlaced: bool

    @property
    def filtered_bytes(self) -> int:
        """What the compressed pixels must inflate to: the bytes of all rows, each with its filter type."""
        bits = self.depth * _CHANNELS[self.color_type]
        total = 0
        for left, top, across, down in _ADAM7 if self.interlaced else ((0, 0, 1, 1),):
            width, height = -(-(self.width - left) // across), -(-(self.height - top) // down)
            if width > 0 and height > 0:
                total += height * (1 + -(-width * bits // 8))
        return total


def png_header(data: memoryview) -> PngHeader:
    """The header chunk's values. Depth and color type are checked against each other, sides are not.

    Raises:
        FrameError: TRUNCATED; BAD_FORMAT where the header chunk is not the first, damaged, or not a kind
            that PNG has.
    """
    kind, chunk = next(_chunks(data))
    if kind != b'IHDR' or len(chunk) != _HEADER_BYTES + 12:
        raise malformed(f'PNG begins with a chunk {kind!r} of {len(chunk) - 12} bytes, expected IHDR of '
                        f'{_HEADER_BYTES}')
    width, height, depth, color_type, _, _, interlace = struct.unpack('>IIBBBBB', chunk[8:21])
    if depth not in _DEPTHS.get(color_type, ()) or interlace > 1:
        raise malformed(f'PNG of {depth} bits, color type {color_type}, interlace {interlace}: no such kind')
    return PngHeader(width, height, depth, color_type, interlace == 1)


def png_size(data: memoryview) -> tuple[int, int]:
    """(width, height) from the header chunk.

    Raises:
        FrameError: see `png_header`.
    """
    header = png_header(data)
    return header.width, header.height


def is_gray_16(data: memoryview) -> bool:
    """Whether it has one 16-bit channel, as depth does; only for data that `png_size` accepted."""
    header = png_header(data)
    return (header.depth, header.color_type) == (16, 0)


def png_payload(data: memoryview) -> bytearray:
    """The file with its critical chunks only and its pixels in stored blocks; as large as the filtered rows.

    Left out are texts and profiles (which may be bombs), gamma, transparency, orientation and the further
    frames of an APNG. So each OpenCV version gives the same pixels.

    Raises:
        FrameError: TRUNCATED where the data end before the end chunk; BAD_FORMAT for a wrong checksum, an
            unknown critical chunk, too many chunks, and pixels that inflate to fewer or more bytes than the
            header's size needs.
    """
    header = png_header(data)
    payload, packed = bytearray(MAGIC), []
    for kind, chunk in _chunks(data):
        if kind == b'IDAT':
            packed.append(chunk[8:-4])
        elif kind in _CRITICAL and kind != b'IEND':
            payload += chunk
    try:
        _append_stored(payload, packed, header.filtered_bytes)
    except zlib.error as error:
        raise malformed(f'PNG pixels cannot be inflated: {error}') from error
    _append_chunk(payload, b'IEND', b'')
    return payload


def _append_stored(payload: bytearray, packed: list[memoryview], expected: int) -> None:
    """Append `packed`, which must inflate to `expected` bytes, as chunks of one stored block each."""
    _append_chunk(payload, b'IDAT', _ends(packed, slice(None, _ZLIB_HEADER)))
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
    _append_chunk(payload, b'IDAT', _ends(packed, slice(-_ZLIB_CHECKSUM, None)))


def _ends(packed: Iterable[memoryview], which: slice) -> bytes:
    """The first or last few bytes of the joined parts, however short each part is."""
    return b''.join(bytes(part[which]) for part in packed)[which]


def _append_chunk(payload: bytearray, kind: bytes, head: bytes, body: bytes = b'') -> None:
    payload += struct.pack('>I', len(head) + len(body))
    payload += kind + head
    payload += body
    payload += struct.pack('>I', zlib.crc32(body, zlib.crc32(kind + head)))


def _inflated(packed: Iterable[memoryview]) -> Iterator[bytes]:
    """Inflate a zlib stream in parts, piece by piece; its header and checksum are left to libpng.

    Work and memory are bounded by how many pieces the caller takes.

    Raises:
        zlib.error: damage, no end, or bytes after the end.
    """
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    header_left, after = _ZLIB_HEADER, 0
    for part in packed:
        part, header_left = part[header_left:], max(0, header_left - len(part))
        for at in range(0, len(part), _PIECE):
            rest: bytes | memoryview = part[at:at + _PIECE]
            if stream.eof:
                after += len(rest)
                continue
            while rest and not stream.eof:
                if piece := stream.decompress(rest, _PIECE):
                    yield piece
                rest = stream.unconsumed_tail
            after += len(stream.unused_data)
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
