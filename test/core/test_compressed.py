# SPDX-License-Identifier: Apache-2.0
"""Compressed frames: rows A3, A4 and A10 to A16 of the fault list, and both formats against Pillow."""

from __future__ import annotations

import io
import os
import re
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from image_vectors import (
    Compressed,
    adam7,
    as_rgb,
    chunk,
    exif_with_thumbnail,
    filtered,
    jpeg_header,
    png,
    saved,
    smooth_rgb,
)
from PIL import Image as Pillow

from shufflenet_ros.core.compressed import decode_compressed
from shufflenet_ros.core.decode import decode
from shufflenet_ros.core.frame import DecodedImage
from shufflenet_ros.core.jpeg import _after_marker as jpeg_end
from shufflenet_ros.core.jpeg import jpeg_payload
from shufflenet_ros.core.png import png_header, png_payload
from shufflenet_ros.core.reasons import DropReason, FrameError

MAX_PIXELS = 40_000_000
RGB = smooth_rgb(48, 64)


def decoded(data: bytes) -> np.ndarray:
    image = decode_compressed(Compressed(data), MAX_PIXELS)
    assert image.pixels.dtype == np.uint8 and image.pixels.ndim == 3
    return as_rgb(image)


def drop_of(data: object, max_pixels: int = MAX_PIXELS) -> FrameError:
    with pytest.raises(FrameError) as caught:
        decode_compressed(Compressed(data), max_pixels)
    assert len(caught.value.detail) <= 300 and caught.value.detail.isprintable()
    return caught.value


def by_pillow(data: bytes) -> np.ndarray:
    return np.asarray(Pillow.open(io.BytesIO(data)).convert('RGB'))


JPEGS: dict[str, bytes] = {
    'baseline': saved(RGB, 'JPEG', quality=90),
    'full chroma': saved(RGB, 'JPEG', quality=95, subsampling=0),
    'low quality': saved(RGB, 'JPEG', quality=20),
    'progressive': saved(RGB, 'JPEG', progressive=True),
    'gray': saved(RGB, 'JPEG', mode='L'),
    'restarts': saved(RGB, 'JPEG', restart_marker_blocks=2),
    'odd size': saved(RGB[:31, :45], 'JPEG'),
    '1x1': saved(RGB[:1, :1], 'JPEG'),
}
_THUMBNAIL = saved(RGB[::4, ::4], 'JPEG')
JPEGS['thumbnail'] = b'\xff\xd8' + exif_with_thumbnail(1, _THUMBNAIL) + JPEGS['baseline'][2:]
JPEGS['comment with an end'] = b'\xff\xd8\xff\xfe\x00\x06\xff\xd9\xff\xd9' + JPEGS['baseline'][2:]

PNGS: dict[str, bytes] = {
    'rgb': saved(RGB, 'PNG'),
    'gray': saved(RGB, 'PNG', mode='L'),
    'palette': saved(RGB, 'PNG', mode='P'),
    'one bit': saved(RGB, 'PNG', mode='1'),
    'interlaced': png((64, 48), 8, 2, adam7(RGB), interlace=1),
    'many pieces': png((64, 48), 8, 2, filtered(RGB), pieces=40),
    '1x1': saved(RGB[:1, :1], 'PNG'),
}


@pytest.mark.parametrize('name', JPEGS)
def test_jpeg_equals_pillow(name: str) -> None:
    difference = np.abs(decoded(JPEGS[name]).astype(int) - by_pillow(JPEGS[name]))
    assert difference.mean() <= 1 and difference.max() <= 8


@pytest.mark.parametrize('name', PNGS)
def test_png_equals_pillow(name: str) -> None:
    assert np.array_equal(decoded(PNGS[name]), by_pillow(PNGS[name]))


def test_decode_tells_raw_and_compressed_apart_by_the_fields() -> None:
    assert np.array_equal(as_rgb(decode(Compressed(PNGS['rgb']), MAX_PIXELS)), RGB)


@pytest.mark.parametrize(('width', 'height'), [(0, 5), (5, 0), (0, 0), (65_535, 65_535), (65_500, 65_500)])
def test_a3_jpeg_sizes_are_rejected_by_their_header(width: int, height: int) -> None:
    expected = DropReason.TOO_LARGE if width * height else DropReason.BAD_SIZE
    assert drop_of(jpeg_header(width, height)).reason is expected


@pytest.mark.parametrize('side', [0, 65_536, 2**31 - 1, 2**31, 2**32 - 1])
def test_a3_png_sizes_are_rejected_by_their_header(side: int) -> None:
    for size in ((side, 4), (4, side), (side, side)):
        assert drop_of(png(size, 8, 2, b'\0')).reason is DropReason.BAD_SIZE


@pytest.mark.parametrize('data', [JPEGS['baseline'], PNGS['rgb']], ids=['jpeg', 'png'])
def test_a4_pixels_up_to_the_limit(data: bytes) -> None:
    assert decode_compressed(Compressed(data), 64 * 48).pixels.shape == (48, 64, 3)
    assert drop_of(data, 64 * 48 - 1).reason is DropReason.TOO_LARGE


def test_a4_header_that_lies_about_the_size_is_dropped() -> None:
    at = JPEGS['baseline'].index(b'\xff\xc0') + 5
    wrong = struct.pack('>HH', 16_000, 2_000)
    assert drop_of(JPEGS['baseline'][:at] + wrong + JPEGS['baseline'][at + 4:]).reason is DropReason.TRUNCATED
    assert drop_of(png((64, 4800), 8, 2, filtered(RGB))).reason is DropReason.BAD_FORMAT
    assert drop_of(png((6400, 48), 8, 2, filtered(RGB))).reason is DropReason.BAD_FORMAT


@pytest.mark.parametrize('name', JPEGS)
def test_a10_jpeg_cut_at_every_byte(name: str) -> None:
    data = JPEGS[name]
    wrong = [k for k in range(len(data)) if drop_of(data[:k]).reason is not DropReason.TRUNCATED]
    assert not wrong


@pytest.mark.parametrize('name', PNGS)
def test_a10_png_cut_at_every_byte(name: str) -> None:
    data = PNGS[name]
    wrong = [k for k in range(len(data)) if drop_of(data[:k]).reason is not DropReason.TRUNCATED]
    assert not wrong


def test_a10_a_cut_that_leaves_the_size_unknown_and_a_cut_bomb() -> None:
    assert drop_of(b'').reason is DropReason.TRUNCATED
    assert drop_of(jpeg_header(65_500, 65_500)).reason is DropReason.TOO_LARGE
    assert drop_of(jpeg_header(640, 480)).reason is DropReason.TRUNCATED


@pytest.mark.parametrize('padding', [
    b'\0' * 512, b'\xff' * 7, b'\xff\xd9', b'garbage \xff\xd8\xff', JPEGS['gray'],
])
def test_a10_bytes_after_the_end_are_padding(padding: bytes) -> None:
    for name in ('baseline', 'progressive', 'thumbnail', 'restarts'):
        assert np.array_equal(decoded(JPEGS[name] + padding), decoded(JPEGS[name]))
    assert np.array_equal(decoded(PNGS['rgb'] + padding), RGB)


def test_a10_the_end_is_found_fast(capsys: pytest.CaptureFixture[str]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (700, 900, 3), np.uint8)
    data = saved(noise, 'JPEG', quality=95)
    times = []
    for _ in range(9):
        started = time.perf_counter()
        assert len(jpeg_payload(memoryview(data))) == len(data)
        times.append(time.perf_counter() - started)
    with capsys.disabled():
        print(f'\nA10: end of {len(data)} B of JPEG found in {np.median(times) * 1e3:.2f} ms', end=' ')


MAGICS = {
    'GIF': b'GIF89a' + bytes(40), 'TIFF': b'II*\0' + bytes(40), 'BMP': b'BM' + bytes(60),
    'WebP': b'RIFF\x24\0\0\0WEBPVP8 ' + bytes(40), 'SVG': b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    'HTML': b'<html><body>401 Unauthorized</body></html>', 'ELF': b'\x7fELF' + bytes(60), 'zeros': bytes(64),
    'JPEG 2000': b'\0\0\0\x0cjP  \r\n\x87\n' + bytes(40), 'PNM': b'P6 2 2 255\n' + bytes(12),
    'H.264': b'\0\0\0\x01\x67' + bytes(40), 'PNG with lost CR': b'\x89PNG\n\x1a\n' + bytes(60),
    'two bytes': b'\xff\xd7', 'text after a start': b'\xff\xd8text',
}


@pytest.mark.parametrize('name', MAGICS)
def test_a13_other_formats_are_reported(name: str) -> None:
    drop = drop_of(MAGICS[name])
    assert drop.reason is DropReason.BAD_FORMAT and 'expected JPEG' in drop.detail


@pytest.mark.parametrize('kind', ['BMP', 'TIFF', 'GIF', 'WEBP', 'PPM'])
def test_a13_real_files_of_other_formats_are_reported(kind: str) -> None:
    assert drop_of(saved(RGB, kind)).reason is DropReason.BAD_FORMAT


@pytest.mark.parametrize('text', [
    '', 'jpg', 'jpeg', 'png', 'rgb8; jpeg compressed bgr8', 'bgr8; png compressed ',
    'bgr8; jpeg compressed rgb8', 'mono8; png compressed mono8', 'x' * 10_000, 'tiff', 'größe \0', None, 7,
])
def test_a14_bytes_decide_not_the_format_text(text: object) -> None:
    for data, error in ((saved(RGB, 'JPEG', quality=98, subsampling=0), 3), (PNGS['rgb'], 0)):
        image = decode_compressed(Compressed(data, text), MAX_PIXELS)
        assert np.abs(as_rgb(image).astype(int) - RGB).mean() <= error


@pytest.mark.parametrize('text', [
    '16UC1; compressedDepth png', '32FC1; compressedDepth', '16UC1; compressedDepth rvl',
])
def test_a14_compressed_depth_is_rejected_with_a_hint(text: str) -> None:
    for data in (bytes(12) + PNGS['gray'], PNGS['gray'], b''):
        with pytest.raises(FrameError, match='depth is not classified') as caught:
            decode_compressed(Compressed(data, text), MAX_PIXELS)
        assert caught.value.reason is DropReason.BAD_FORMAT


def noise(shape: tuple[int, ...], dtype: str = 'u1') -> np.ndarray:
    return np.random.default_rng(1).integers(0, np.iinfo(dtype).max, shape, np.uint16).astype(dtype)


G16, RGB16, RGBA16 = noise((9, 7), '>u2'), noise((9, 7, 3), '>u2'), noise((9, 7, 4), '>u2')
RGBA, GRAY_ALPHA, INDEX, PALETTE = noise((9, 7, 4)), noise((9, 7, 2)), noise((9, 7)), noise((256, 3))
SECOND_FRAME = chunk(b'fcTL', struct.pack('>IIIIIHHBB', 1, 7, 9, 0, 0, 1, 10, 0, 0)) + chunk(
    b'fdAT', struct.pack('>I', 2) + zlib.compress(filtered(255 - RGBA)))
FIRST_CONTROL = chunk(b'acTL', struct.pack('>II', 2, 0)) + chunk(
    b'fcTL', struct.pack('>IIIIIHHBB', 0, 7, 9, 0, 0, 1, 10, 0, 1))

A15_PNGS: dict[str, tuple[bytes, np.ndarray]] = {
    '16-bit color': (png((7, 9), 16, 2, filtered(RGB16)), RGB16 >> 8),
    '16-bit alpha': (png((7, 9), 16, 6, filtered(RGBA16)), RGBA16[..., :3] >> 8),
    '16-bit interlaced': (png((7, 9), 16, 2, adam7(RGB16), interlace=1), RGB16 >> 8),
    'alpha': (png((7, 9), 8, 6, filtered(RGBA)), RGBA[..., :3]),
    'gray and alpha': (png((7, 9), 8, 4, filtered(GRAY_ALPHA)), np.repeat(GRAY_ALPHA[..., :1], 3, -1)),
    'palette': (
        png((7, 9), 8, 3, filtered(INDEX), before_pixels=chunk(b'PLTE', PALETTE.tobytes())), PALETTE[INDEX]),
    'palette with transparency': (
        png((7, 9), 8, 3, filtered(INDEX),
            before_pixels=chunk(b'PLTE', PALETTE.tobytes()) + chunk(b'tRNS', bytes(256))), PALETTE[INDEX]),
    'color key': (
        png((7, 9), 8, 2, filtered(RGBA[..., :3]), before_pixels=chunk(b'tRNS', bytes(6))), RGBA[..., :3]),
    'gamma and orientation': (
        png((7, 9), 8, 2, filtered(RGBA[..., :3]), before_pixels=chunk(b'gAMA', struct.pack('>I', 220_000))
            + chunk(b'eXIf', exif_with_thumbnail(6)[10:])), RGBA[..., :3]),
    'APNG': (
        png((7, 9), 8, 6, filtered(RGBA), before_pixels=FIRST_CONTROL)[:-12] + SECOND_FRAME
        + chunk(b'IEND', b''),
        RGBA[..., :3]),
}


@pytest.mark.parametrize('name', A15_PNGS)
def test_a15_png_kinds_have_the_documented_outcome(name: str) -> None:
    data, expected = A15_PNGS[name]
    assert np.array_equal(decoded(data), expected)


@pytest.mark.parametrize('orientation', range(1, 9))
def test_a15_orientation_is_ignored(orientation: int) -> None:
    tagged = b'\xff\xd8' + exif_with_thumbnail(orientation) + JPEGS['baseline'][2:]
    assert Pillow.open(io.BytesIO(tagged)).getexif().get(0x0112) == orientation
    assert np.array_equal(decoded(tagged), decoded(JPEGS['baseline']))


DEPTH_PNG = png((7, 9), 16, 0, filtered(G16))


@pytest.mark.parametrize('text', [
    '16UC1; png compressed ', 'png', '.png', '', 'rgb8; png compressed bgr8', None,
])
def test_a15_a_png_of_16_bit_gray_is_depth_unless_format_says_mono16(text: object) -> None:
    with pytest.raises(FrameError, match='depth') as caught:
        decode_compressed(Compressed(DEPTH_PNG, text), MAX_PIXELS)
    assert caught.value.reason is DropReason.BAD_ENCODING and len(caught.value.detail) < 300
    for said in ('mono16; png compressed ', 'mono16;png compressed', 'mono16'):
        image = decode_compressed(Compressed(DEPTH_PNG, said), MAX_PIXELS)
        assert np.array_equal(image.pixels, np.stack([G16 >> 8] * 3, -1))


@pytest.mark.parametrize('name', ['16UC1', '16SC1', '32SC1', '32FC1', '64FC1'])
def test_a15_a_depth_encoding_in_format_is_believed(name: str) -> None:
    for data in (DEPTH_PNG, PNGS['gray'], JPEGS['gray']):
        with pytest.raises(FrameError, match=f'format {name}: depth is not classified') as caught:
            decode_compressed(Compressed(data, f'{name}; png compressed '), MAX_PIXELS)
        assert caught.value.reason is DropReason.BAD_ENCODING


def test_a15_other_jpeg_kinds_are_rejected() -> None:
    rejected = {'CMYK': saved(RGB, 'JPEG', mode='CMYK'), '12-bit': jpeg_header(64, 48, precision=12),
               'two channels': jpeg_header(64, 48, channels=2), 'no channel': jpeg_header(64, 48, channels=0)}
    rejected |= {f'SOF{n}': jpeg_header(64, 48, kind=0xC0 + n) for n in (3, 5, 6, 7, 9, 10, 11, 13, 14, 15)}
    reasons = {name: drop_of(data).reason for name, data in rejected.items()}
    assert reasons == dict.fromkeys(rejected, DropReason.BAD_FORMAT)


def with_bad_sum(data: bytes, kind: bytes) -> bytes:
    at = data.index(kind) + 6
    return data[:at] + bytes((data[at] ^ 1,)) + data[at + 1:]


def repacked(pixels: bytes) -> bytes:
    """The PNG with these compressed pixels."""
    return PNGS['rgb'][:33] + chunk(b'IDAT', pixels) + chunk(b'IEND', b'')


MALFORMED: dict[str, bytes] = {
    'two frame headers': JPEGS['baseline'].replace(b'\xff\xc0', jpeg_header(64, 48)[2:] + b'\xff\xc0'),
    'no frame header': re.sub(rb'\xff\xc0\x00\x11.{15}', b'', JPEGS['baseline'], flags=re.DOTALL),
    'short frame header': b'\xff\xd8\xff\xc0\x00\x04\x08\x00' + JPEGS['baseline'][2:],
    'tables after the last scan': JPEGS['baseline'][:-2] + b'\xff\xdd\x00\x04\x00\x01\xff\xd9',
    'one scan twice': JPEGS['baseline'][:-2] + JPEGS['baseline'][JPEGS['baseline'].index(b'\xff\xda'):],
    'no scan': jpeg_header(64, 48) + b'\xff\xd9',
    'end at once': b'\xff\xd8\xff\xd9',
    'second start': JPEGS['baseline'][:2] + JPEGS['baseline'],
    'segment of length 0': b'\xff\xd8\xff\xe0\x00\x00' + JPEGS['baseline'][2:],
    'too many segments': b'\xff\xd8' + b'\xff\xfe\x00\x02' * 100_000 + JPEGS['baseline'][2:],
    'too many scans': JPEGS['progressive'][:-2] + JPEGS['progressive'][
        JPEGS['progressive'].index(b'\xff\xda'):-2] * 40 + b'\xff\xd9',
    'no pixels': b'\x89PNG\r\n\x1a\n' + PNGS['rgb'][8:33] + chunk(b'IEND', b''),
    'other first chunk': b'\x89PNG\r\n\x1a\n' + chunk(b'PLTE', b'abc') + PNGS['rgb'][8:],
    'other first chunk of the same length': b'\x89PNG\r\n\x1a\n' + chunk(b'tEXt', PNGS['rgb'][16:29])
    + PNGS['rgb'][8:],
    'short header': b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', b'abc') + PNGS['rgb'][8:],
    'unknown critical chunk': PNGS['rgb'][:33] + chunk(b'CgBI', b'') + PNGS['rgb'][33:],
    'chunk without letters': PNGS['rgb'][:33] + chunk(b'\0\0\0\0', b'') + PNGS['rgb'][33:],
    'chunk of a letter': PNGS['rgb'][:33] + chunk(b'a\0\0\0', b'') + PNGS['rgb'][33:],
    'pixels with a bad sum': with_bad_sum(PNGS['rgb'], b'IDAT'),
    'header with a bad sum': with_bad_sum(PNGS['rgb'], b'IHDR'),
    'too many chunks': PNGS['rgb'][:33] + chunk(b'tEXt', b'') * 70_000 + PNGS['rgb'][33:],
    'palette without colors': png((7, 9), 8, 3, filtered(INDEX)),
    'seven bits': png((7, 9), 7, 0, filtered(INDEX)),
    'empty pixel chunks': PNGS['rgb'][:-12] + chunk(b'IDAT', b'') * 2000 + PNGS['rgb'][-12:],
    'a line too many': png((64, 48), 8, 2, filtered(RGB) + b'\0'),
    'bytes after the pixels': PNGS['rgb'][:-12] + chunk(b'IDAT', b'\0') + PNGS['rgb'][-12:],
    'wrong sum of the pixels': repacked(zlib.compress(filtered(RGB))[:-1] + b'\0'),
    'no sum of the pixels': repacked(zlib.compress(filtered(RGB))[:-4]),
    'no end of the pixels': repacked(zlib.compress(filtered(RGB))[:-6]),
    'pixels that are not a stream': repacked(b'\x78\x9c\xff\xff\xff\xff\xff\xff'),
    'pixels of one byte': repacked(b'\x78'),
    'an invalid filter': png((64, 48), 8, 2, b'\x09' + filtered(RGB)[1:]),
    'an invalid interlace': png((64, 48), 8, 2, filtered(RGB), interlace=2),
    'much fill': JPEGS['baseline'][:-2] + b'\xff' * 100 + JPEGS['baseline'][-2:],
    'much fill before the frame header': b'\xff\xd8' + b'\xff' * 100 + JPEGS['baseline'][2:],
    'a frame header beyond 1 MiB': b'\xff\xd8' + b'\xff\xfe\xff\xff' .ljust(65_537, b'\0') * 17
    + JPEGS['baseline'][2:],
    'too few lines': png((64, 48), 8, 2, filtered(RGB[:20])),
    'no lines': png((64, 48), 8, 2, b''),
}


@pytest.mark.parametrize('name', MALFORMED)
def test_malformed_files_are_reported(name: str) -> None:
    assert drop_of(MALFORMED[name]).reason is DropReason.BAD_FORMAT


@pytest.mark.parametrize('name', [
    'no pixels', 'pixels with a bad sum', 'header with a bad sum', 'a line too many',
    'bytes after the pixels', 'no sum of the pixels', 'no end of the pixels',
    'pixels that are not a stream', 'too few lines', 'no lines',
    'seven bits', 'an invalid interlace',
])
def test_a_malformed_png_is_rejected_before_opencv_sees_it(name: str) -> None:
    with pytest.raises(FrameError):
        png_payload(memoryview(MALFORMED[name]))


@pytest.mark.parametrize('name', [
    'two frame headers', 'tables after the last scan', 'one scan twice', 'no scan',
])
def test_a_malformed_jpeg_is_rejected_before_opencv_sees_it(name: str) -> None:
    with pytest.raises(FrameError):
        jpeg_payload(memoryview(MALFORMED[name]))


@pytest.mark.parametrize(('kind', 'channels'), [(0, 1), (2, 3), (4, 2), (6, 4), (3, 1)])
def test_the_number_of_filtered_bytes_is_computed_from_the_header(kind: int, channels: int) -> None:
    for width, height in ((1, 1), (2, 3), (4, 4), (5, 1), (7, 9), (8, 8), (13, 6), (64, 48)):
        pixels = noise((height, width, channels))
        for interlace, lines in enumerate((filtered(pixels), adam7(pixels))):
            header = png_header(memoryview(png((width, height), 8, kind, b'', interlace)))
            assert header.filtered_bytes == len(lines)
    one_bit = png_header(memoryview(png((9, 5), 1, 0, b'')))
    assert one_bit.filtered_bytes == 5 * (1 + 2)


@pytest.mark.parametrize('extra', [1, 1 << 20])
def test_bytes_beyond_what_an_image_can_need_are_rejected_before_they_are_read(extra: int) -> None:
    for data, a_pixel in ((JPEGS['baseline'], 5), (PNGS['rgb'], 9)):
        most = (1 << 20) + a_pixel * 64 * 48
        assert np.array_equal(decoded(data.ljust(most, b'\0')), decoded(data))
        drop = drop_of(data.ljust(most + extra, b'\0'))
        assert drop.reason is DropReason.LONG_DATA and f'at most {most}' in drop.detail


def test_up_to_64_fill_bytes_are_fine() -> None:
    fill = b'\xff' * 63
    at = JPEGS['baseline'].index(b'\xff\xdb')
    assert np.array_equal(decoded(JPEGS['baseline'][:at] + fill + JPEGS['baseline'][at:]),
                          decoded(JPEGS['baseline']))


def test_a_marker_is_found_wherever_a_slice_ends() -> None:
    for before in range(65_536 - 70, 65_536 + 70):
        data = b'\xff\xd8\xff\xda\0\2' + bytes(before) + b'\xff' * 60 + b'\xd9'
        assert jpeg_end(memoryview(data), 6) == len(data)


def test_opencv_sees_nothing_but_the_image() -> None:
    bare = png_payload(memoryview(png((7, 9), 8, 6, filtered(RGBA))))
    for name in ('APNG', 'alpha'):
        assert png_payload(memoryview(A15_PNGS[name][0])) == bare
    assert filtered(RGBA) in bare
    assert jpeg_payload(memoryview(JPEGS['baseline'] + b'more')) == JPEGS['baseline']


@pytest.mark.parametrize('data', [None, 'text', [1], np.zeros(8, np.int32)])
def test_data_that_is_not_a_buffer_of_bytes_is_reported(data: object) -> None:
    assert drop_of(data).reason is DropReason.BAD_FORMAT


def bright_then(data: bytes) -> DecodedImage:
    """Decode a bright frame of the same size, free its memory, then decode."""
    assert (decoded(saved(np.full((480, 640, 3), 250, np.uint8), 'JPEG')) > 240).all()
    return decode_compressed(Compressed(data), MAX_PIXELS)


@pytest.mark.parametrize('share', [0.1, 0.3, 0.5, 0.7, 0.9, 0.99])
def test_a16_no_pixel_of_the_frame_before_comes_back(share: float) -> None:
    dark = smooth_rgb(480, 640) // 10
    data = saved(dark, 'JPEG', quality=95)
    cut = data[:int(len(data) * share)]
    with pytest.raises(FrameError):
        bright_then(cut)
    # A truncated file that still ends in an end marker looks whole; its tail must be gray, not old.
    for entropy_end in (cut, cut[:-1], cut + b'\0'):
        assert (bright_then(entropy_end + b'\xff\xd9').pixels < 200).all()
    short = png((640, 480), 8, 2, filtered(dark[:int(480 * share)]))
    with pytest.raises(FrameError):
        bright_then(short)


def test_opencv_gets_its_pixel_limit_before_it_is_loaded(repo_root: Path) -> None:
    program = (
        'import os, sys; sys.path.insert(0, os.getcwd())\n'
        'from shufflenet_ros.core.decode import decode\n'
        'from shufflenet_ros.core.opencv import IO_MAX_PIXELS, cv2\n'
        'import numpy as np\n'
        'try:\n'
        '    cv2.imdecode(np.frombuffer(sys.stdin.buffer.read(), np.uint8), cv2.IMREAD_COLOR)\n'
        'except cv2.error as error:\n'
        '    print(os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] == str(IO_MAX_PIXELS), error.err)\n')
    huge = png((20_000, 20_000), 8, 2, b'\0')
    without = {name: value for name, value in os.environ.items() if name != 'OPENCV_IO_MAX_IMAGE_PIXELS'}
    done = subprocess.run([sys.executable, '-c', program], input=huge, capture_output=True, cwd=repo_root,
                          env=without, check=True)
    assert done.stdout.startswith(b'True pixels <= CV_IO_MAX_IMAGE_PIXELS')


def test_opencv_is_imported_in_one_place(repo_root: Path) -> None:
    direct = re.compile(r'^\s*(import cv2|from cv2)', re.MULTILINE)
    sources = (repo_root / 'shufflenet_ros' / 'core').glob('*.py')
    assert [path.name for path in sources if direct.search(path.read_text())] == ['opencv.py']


def test_opencvs_own_error_is_bad_format(monkeypatch: pytest.MonkeyPatch) -> None:
    def rejects(*_: object) -> None:
        raise cv2.error('stand-in')

    monkeypatch.setattr(cv2, 'imdecode', rejects)
    assert drop_of(JPEGS['baseline']).reason is DropReason.BAD_FORMAT
