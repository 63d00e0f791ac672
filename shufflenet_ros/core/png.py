"""PNG without its compression: size, true end, checksums, and exactly the pixels' bytes (ISO/IEC 15948).

The pixels are inflated here, with a bound, and OpenCV gets them in stored blocks. libpng would inflate
whatever follows the last line, however much that is; and bounding it first, then letting libpng inflate
again, would cost half as much again as decoding.
"""

import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from shufflenet_ros.core.reasons import DropReason, FrameError

MAGIC = b'\x89PNG\r\n\x1a\n'
MAX_OTHER_CHUNKS = 256  # all but the pixels': texts, profiles, an APNG's further frames
MAX_PIXEL_CHUNKS, SMALL_PIXEL_CHUNK = 1024, 4096  # more chunks must be larger than this on average

_HEADER_BYTES = 13
_CRITICAL = frozenset((b'IHDR', b'PLTE', b'IDAT', b'IEND'))
_PIECE = 1 << 15  # of what is inflated, in and out: small for the cache, large against a call's cost
_ZLIB_HEADER, _ZLIB_SUM = 2, 4  # bytes before and after the compressed data
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by color type
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
# Left, top, and distance between columns and rows of each pass over an interlaced image.
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
        """Bytes of all lines, each after its filter type: what the compressed pixels must inflate to."""
        bits = self.depth * _CHANNELS[self.color_type]
        total = 0
        for left, top, across, down in _ADAM7 if self.interlaced else ((0, 0, 1, 1),):
            width, height = -(-(self.width - left) // across), -(-(self.height - top) // down)
            if width > 0 and height > 0:
                total += height * (1 + -(-width * bits // 8))
        return total


def png_header(data: memoryview) -> PngHeader:
    """The header chunk's values; sides may be anything, depth and color type fit each other.

    Raises:
        FrameError: TRUNCATED; BAD_FORMAT where the header chunk is not the first, damaged, or of no kind
            that PNG has.
    """
    kind, chunk = next(_chunks(data))
    if kind != b'IHDR' or len(chunk) != _HEADER_BYTES + 12:
        raise FrameError(DropReason.BAD_FORMAT, f'PNG begins with a chunk {kind!r} of {len(chunk) - 12} bytes: '
                                         f'expected IHDR of {_HEADER_BYTES}')
    width, height, depth, color_type, _, _, interlace = struct.unpack('>IIBBBBB', chunk[8:21])
    if depth not in _DEPTHS.get(color_type, ()) or interlace > 1:
        raise FrameError(DropReason.BAD_FORMAT, f'PNG of {depth} bits, color type {color_type}, interlace '
                                         f'{interlace}: no kind of PNG; damaged on its way')
    return PngHeader(width, height, depth, color_type, interlace == 1)


def png_size(data: memoryview) -> tuple[int, int]:
    """(width, height) from the header chunk.

    Raises:
        FrameError: see `png_header`.
    """
    header = png_header(data)
    return header.width, header.height


def is_gray_16(data: memoryview) -> bool:
    """Whether it has one channel of 16 bits, as depth does; for data that `png_size` has read."""
    header = png_header(data)
    return (header.depth, header.color_type) == (16, 0)


def png_payload(data: memoryview) -> bytearray:
    """The image of its critical chunks alone, its pixels in stored blocks; as large as the filtered lines.

    What is left out: texts and profiles (which may be bombs), gamma, transparency, orientation and the
    further frames of an APNG. So each OpenCV version gives the same pixels.

    Raises:
        FrameError: TRUNCATED where the data stop before the end chunk; BAD_FORMAT for a checksum that does not
            fit, an unknown critical chunk, too many chunks, and pixels that inflate to fewer or more
            bytes than the header's size needs.
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
        raise FrameError(DropReason.BAD_FORMAT, f'PNG pixels cannot be inflated: {error}; '
                                         'damaged on its way') from error
    _append_chunk(payload, b'IEND', b'')
    return payload


def _append_stored(payload: bytearray, packed: list[memoryview], expected: int) -> None:
    """Append `packed`, which must inflate to so many bytes, as chunks of one stored block each."""
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
        raise FrameError(DropReason.BAD_FORMAT, f'PNG pixels inflate to {size} bytes: expected {expected} for the '
                                         "header's size; damaged, or made to waste time")
    _append_chunk(payload, b'IDAT', _ends(packed, slice(-_ZLIB_SUM, None)))


def _ends(packed: Iterable[memoryview], which: slice) -> bytes:
    """The first or last few bytes of parts together, however few each part has."""
    return b''.join(bytes(part[which]) for part in packed)[which]


def _append_chunk(payload: bytearray, kind: bytes, head: bytes, body: bytes = b'') -> None:
    payload += struct.pack('>I', len(head) + len(body))
    payload += kind + head
    payload += body
    payload += struct.pack('>I', zlib.crc32(body, zlib.crc32(kind + head)))


def _inflated(packed: Iterable[memoryview]) -> Iterator[bytes]:
    """Pieces of what a zlib stream in parts inflates to, its header and sum left to libpng.

    Work and memory are bounded by what the caller takes.

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
    if not stream.eof or after != _ZLIB_SUM:
        raise zlib.error('incomplete stream' if after < _ZLIB_SUM else 'bytes after the end of the stream')


def _chunks(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """(kind, whole chunk) up to and with IEND; sums of critical ones are checked, none is inflated."""
    position = len(MAGIC)
    pixel_chunks, other_chunks = MAX_PIXEL_CHUNKS + len(data) // SMALL_PIXEL_CHUNK, MAX_OTHER_CHUNKS
    while pixel_chunks >= 0 and other_chunks >= 0:
        kind = bytes(data[position + 4:position + 8])
        end = position + 12 + int.from_bytes(data[position:position + 4], 'big')
        if position + 12 > len(data) or end > len(data):
            raise FrameError(DropReason.TRUNCATED, f'PNG ends after {len(data)} bytes, inside a chunk: it was cut '
                                            'on its way; check the camera link and the message size limits')
        is_ancillary = kind.isalpha() and kind[:1].islower()
        if not is_ancillary and kind not in _CRITICAL:
            raise FrameError(DropReason.BAD_FORMAT, f'PNG with an unknown critical chunk {kind!r}')
        checksum = int.from_bytes(data[end - 4:end], 'big')
        if not is_ancillary and zlib.crc32(data[position + 4:end - 4]) != checksum:
            raise FrameError(DropReason.BAD_FORMAT, f'PNG chunk {kind!r} does not fit its sum: damaged on its way')
        yield kind, data[position:end]
        if kind == b'IEND':
            return
        position = end
        pixel_chunks, other_chunks = pixel_chunks - (kind == b'IDAT'), other_chunks - (kind != b'IDAT')
    raise FrameError(DropReason.BAD_FORMAT, f'PNG of too many chunks: expected at most {MAX_OTHER_CHUNKS}, and '
                                     f'{MAX_PIXEL_CHUNKS} of pixels that are below {SMALL_PIXEL_CHUNK} bytes')
