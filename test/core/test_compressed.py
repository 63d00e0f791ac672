# SPDX-License-Identifier: Apache-2.0
"""Compressed frames: rows A3, A4 and A10 to A16 of the fault list, and both formats against Pillow."""

import io
import os
import re
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
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


JPEG, PNG = saved(RGB, 'JPEG', quality=90), saved(RGB, 'PNG')
JPEGS: dict[str, bytes] = {
    'baseline': JPEG,
    'full chroma': saved(RGB, 'JPEG', quality=95, subsampling=0),
    'low quality': saved(RGB, 'JPEG', quality=20),
    'progressive': saved(RGB, 'JPEG', progressive=True),
    'gray': saved(RGB, 'JPEG', mode='L'),
    'restarts': saved(RGB, 'JPEG', restart_marker_blocks=2),
    'odd size': saved(RGB[:31, :45], 'JPEG'),
    '1x1': saved(RGB[:1, :1], 'JPEG'),
    'thumbnail': b'\xff\xd8' + exif_with_thumbnail(1, saved(RGB[::4, ::4], 'JPEG')) + JPEG[2:],
    'comment with an end': b'\xff\xd8\xff\xfe\x00\x06\xff\xd9\xff\xd9' + JPEG[2:],
}

PNGS: dict[str, bytes] = {
    'rgb': PNG,
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


@pytest.mark.parametrize('data', [*JPEGS.values(), *PNGS.values()], ids=[*JPEGS, *PNGS])
def test_a10_a_file_cut_at_every_byte(data: bytes) -> None:
    wrong = [k for k in range(len(data)) if drop_of(data[:k]).reason is not DropReason.TRUNCATED]
    assert not wrong


def test_decode_recognizes_a_compressed_message() -> None:
    assert np.array_equal(as_rgb(decode(Compressed(PNG), MAX_PIXELS)), RGB)


@pytest.mark.parametrize('data', [JPEG, PNG], ids=['jpeg', 'png'])
def test_a4_pixels_up_to_the_limit(data: bytes) -> None:
    assert decode_compressed(Compressed(data), 64 * 48).pixels.shape == (48, 64, 3)
    assert drop_of(data, 64 * 48 - 1).reason is DropReason.TOO_LARGE


@pytest.mark.parametrize('padding', [
    b'\0' * 512, b'\xff' * 7, b'\xff\xd9', b'garbage \xff\xd8\xff', JPEGS['gray'],
])
def test_a10_bytes_after_the_end_are_padding(padding: bytes) -> None:
    for name in ('baseline', 'progressive', 'thumbnail', 'restarts'):
        assert np.array_equal(decoded(JPEGS[name] + padding), decoded(JPEGS[name]))
    assert np.array_equal(decoded(PNG + padding), RGB)


OTHER_FORMATS = {kind: saved(RGB, kind) for kind in ('BMP', 'TIFF', 'GIF', 'WEBP', 'PPM')} | {
    'SVG': b'<svg xmlns="http://www.w3.org/2000/svg"/>', 'HTML': b'<html><body>401</body></html>',
    'ELF': b'\x7fELF' + bytes(60), 'zeros': bytes(64), 'H.264': b'\0\0\0\x01\x67' + bytes(40),
    'JPEG 2000': b'\0\0\0\x0cjP  \r\n\x87\n' + bytes(40), 'PNG with lost CR': b'\x89PNG\n\x1a\n' + bytes(60),
    'two bytes': b'\xff\xd7', 'text after a start': b'\xff\xd8text',
}


@pytest.mark.parametrize('name', OTHER_FORMATS)
def test_a13_other_formats_are_reported(name: str) -> None:
    drop = drop_of(OTHER_FORMATS[name])
    assert drop.reason is DropReason.BAD_FORMAT and 'expected JPEG' in drop.detail


@pytest.mark.parametrize('text', [
    '', 'jpg', 'jpeg', 'png', 'rgb8; jpeg compressed bgr8', 'bgr8; png compressed ',
    'bgr8; jpeg compressed rgb8', 'mono8; png compressed mono8', 'x' * 10_000, 'tiff', 'größe \0', None, 7,
])
def test_a14_the_first_bytes_decide_not_format(text: object) -> None:
    for data, error in ((saved(RGB, 'JPEG', quality=98, subsampling=0), 3), (PNG, 0)):
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
    tagged = b'\xff\xd8' + exif_with_thumbnail(orientation) + JPEG[2:]
    assert Pillow.open(io.BytesIO(tagged)).getexif().get(0x0112) == orientation
    assert np.array_equal(decoded(tagged), decoded(JPEG))


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
def test_a15_a_depth_encoding_in_format_is_rejected(name: str) -> None:
    for data in (DEPTH_PNG, PNGS['gray'], JPEGS['gray']):
        with pytest.raises(FrameError, match=f'format {name}: depth is not classified') as caught:
            decode_compressed(Compressed(data, f'{name}; png compressed '), MAX_PIXELS)
        assert caught.value.reason is DropReason.BAD_ENCODING


def with_bad_sum(data: bytes, kind: bytes) -> bytes:
    at = data.index(kind) + 6
    return data[:at] + bytes((data[at] ^ 1,)) + data[at + 1:]


def repacked(pixels: bytes) -> bytes:
    """The PNG with these compressed pixels."""
    return PNG[:33] + chunk(b'IDAT', pixels) + chunk(b'IEND', b'')


PROGRESSIVE = JPEGS['progressive']
MALFORMED: dict[str, bytes] = {
    'two frame headers': JPEG.replace(b'\xff\xc0', jpeg_header(64, 48)[2:] + b'\xff\xc0'),
    'no frame header': re.sub(rb'\xff\xc0\x00\x11.{15}', b'', JPEG, flags=re.DOTALL),
    'short frame header': b'\xff\xd8\xff\xc0\x00\x04\x08\x00' + JPEG[2:],
    'tables after the last scan': JPEG[:-2] + b'\xff\xdd\x00\x04\x00\x01\xff\xd9',
    'one scan twice': JPEG[:-2] + JPEG[JPEG.index(b'\xff\xda'):],
    'no scan': jpeg_header(64, 48) + b'\xff\xd9',
    'end at once': b'\xff\xd8\xff\xd9',
    'second start': JPEG[:2] + JPEG,
    'segment of length 0': b'\xff\xd8\xff\xe0\x00\x00' + JPEG[2:],
    'too many segments': b'\xff\xd8' + b'\xff\xfe\x00\x02' * 100_000 + JPEG[2:],
    'too many scans': PROGRESSIVE[:-2] + PROGRESSIVE[PROGRESSIVE.index(b'\xff\xda'):-2] * 40 + b'\xff\xd9',
    'no pixels': b'\x89PNG\r\n\x1a\n' + PNG[8:33] + chunk(b'IEND', b''),
    'other first chunk': b'\x89PNG\r\n\x1a\n' + chunk(b'PLTE', b'abc') + PNG[8:],
    'other first chunk of the same length': b'\x89PNG\r\n\x1a\n' + chunk(b'tEXt', PNG[16:29]) + PNG[8:],
    'short header': b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', b'abc') + PNG[8:],
    'unknown critical chunk': PNG[:33] + chunk(b'CgBI', b'') + PNG[33:],
    'chunk without letters': PNG[:33] + chunk(b'\0\0\0\0', b'') + PNG[33:],
    'chunk of a letter': PNG[:33] + chunk(b'a\0\0\0', b'') + PNG[33:],
    'pixels with a bad sum': with_bad_sum(PNG, b'IDAT'),
    'header with a bad sum': with_bad_sum(PNG, b'IHDR'),
    'too many chunks': PNG[:33] + chunk(b'tEXt', b'') * 70_000 + PNG[33:],
    'palette without colors': png((7, 9), 8, 3, filtered(INDEX)),
    'seven bits': png((7, 9), 7, 0, filtered(INDEX)),
    'empty pixel chunks': PNG[:-12] + chunk(b'IDAT', b'') * 2000 + PNG[-12:],
    'a line too many': png((64, 48), 8, 2, filtered(RGB) + b'\0'),
    'bytes after the pixels': PNG[:-12] + chunk(b'IDAT', b'\0') + PNG[-12:],
    'wrong sum of the pixels': repacked(zlib.compress(filtered(RGB))[:-1] + b'\0'),
    'no sum of the pixels': repacked(zlib.compress(filtered(RGB))[:-4]),
    'no end of the pixels': repacked(zlib.compress(filtered(RGB))[:-6]),
    'pixels that are not a stream': repacked(b'\x78\x9c\xff\xff\xff\xff\xff\xff'),
    'pixels of one byte': repacked(b'\x78'),
    'an invalid filter': png((64, 48), 8, 2, b'\x09' + filtered(RGB)[1:]),
    'an invalid interlace': png((64, 48), 8, 2, filtered(RGB), interlace=2),
    'much fill': JPEG[:-2] + b'\xff' * 100 + JPEG[-2:],
    'much fill before the frame header': b'\xff\xd8' + b'\xff' * 100 + JPEG[2:],
    'a frame header beyond 1 MiB': b'\xff\xd8' + b'\xff\xfe\xff\xff'.ljust(65_537, b'\0') * 17 + JPEG[2:],
    'too few lines': png((64, 48), 8, 2, filtered(RGB[:20])),
    'no lines': png((64, 48), 8, 2, b''),
}


SIDES, BAD = (0, 65_536, 2**31 - 1, 2**31, 2**32 - 1), DropReason.BAD_FORMAT
AT = JPEG.index(b'\xff\xc0') + 5
REJECTED: dict[str, tuple[object, DropReason]] = {
    **{f'a3 JPEG of {w}x{h}': (jpeg_header(w, h), DropReason.BAD_SIZE) for w, h in ((0, 5), (5, 0), (0, 0))},
    **{f'a3 JPEG of {w}x{w}': (jpeg_header(w, w), DropReason.TOO_LARGE) for w in (65_500, 65_535)},
    **{f'a3 PNG of {w}x{h}': (png((w, h), 8, 2, b'\0'), DropReason.BAD_SIZE)
       for side in SIDES for w, h in ((side, 4), (4, side), (side, side))},
    'a4 JPEG that claims 2000x16000': (
        JPEG[:AT] + struct.pack('>HH', 16_000, 2_000) + JPEG[AT + 4:], DropReason.TRUNCATED),
    'a4 PNG that claims more rows': (png((64, 4800), 8, 2, filtered(RGB)), BAD),
    'a4 PNG that claims more columns': (png((6400, 48), 8, 2, filtered(RGB)), BAD),
    'a10 no bytes': (b'', DropReason.TRUNCATED),
    'a10 header of a JPEG': (jpeg_header(640, 480), DropReason.TRUNCATED),
    'a15 CMYK JPEG': (saved(RGB, 'JPEG', mode='CMYK'), BAD),
    'a15 12-bit JPEG': (jpeg_header(64, 48, precision=12), BAD),
    **{f'a15 JPEG of {n} channels': (jpeg_header(64, 48, channels=n), BAD) for n in (0, 2)},
    **{f'a15 JPEG of kind SOF{n}': (jpeg_header(64, 48, kind=0xC0 + n), BAD)
       for n in (3, 5, 6, 7, 9, 10, 11, 13, 14, 15)},
    **{f'data {data!r}': (data, BAD) for data in (None, 'text', [1], np.zeros(8, np.int32))},
    **{name: (data, BAD) for name, data in MALFORMED.items()},
}


@pytest.mark.parametrize('name', REJECTED)
def test_unusable_data_are_rejected(name: str) -> None:
    data, reason = REJECTED[name]
    assert drop_of(data).reason is reason


@pytest.mark.parametrize(('payload', 'name'), [
    *((jpeg_payload, name) for name in (
        'two frame headers', 'tables after the last scan', 'one scan twice', 'no scan')),
    *((png_payload, name) for name in (
        'no pixels', 'pixels with a bad sum', 'header with a bad sum', 'a line too many',
        'bytes after the pixels', 'no sum of the pixels', 'no end of the pixels',
        'pixels that are not a stream', 'too few lines', 'no lines', 'seven bits', 'an invalid interlace')),
])
def test_a_malformed_file_is_rejected_before_opencv_sees_it(
        payload: Callable[[memoryview], object], name: str) -> None:
    with pytest.raises(FrameError):
        payload(memoryview(MALFORMED[name]))


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
    for data, a_pixel in ((JPEG, 5), (PNG, 9)):
        most = (1 << 20) + a_pixel * 64 * 48
        assert np.array_equal(decoded(data.ljust(most, b'\0')), decoded(data))
        drop = drop_of(data.ljust(most + extra, b'\0'))
        assert drop.reason is DropReason.LONG_DATA and f'at most {most}' in drop.detail


def test_up_to_64_fill_bytes_are_fine() -> None:
    fill = b'\xff' * 63
    at = JPEG.index(b'\xff\xdb')
    assert np.array_equal(decoded(JPEG[:at] + fill + JPEG[at:]), decoded(JPEG))


def test_a_marker_is_found_wherever_a_slice_ends() -> None:
    for before in range(65_536 - 70, 65_536 + 70):
        data = b'\xff\xd8\xff\xda\0\2' + bytes(before) + b'\xff' * 60 + b'\xd9'
        assert jpeg_end(memoryview(data), 6) == len(data)


def test_opencv_gets_only_the_image() -> None:
    bare = png_payload(memoryview(png((7, 9), 8, 6, filtered(RGBA))))
    for name in ('APNG', 'alpha'):
        assert png_payload(memoryview(A15_PNGS[name][0])) == bare
    assert filtered(RGBA) in bare
    assert jpeg_payload(memoryview(JPEG + b'more')) == JPEG


def bright_then(data: bytes) -> DecodedImage:
    """Decode a bright frame of the same size, free its memory, then decode."""
    assert (decoded(saved(np.full((480, 640, 3), 250, np.uint8), 'JPEG')) > 240).all()
    return decode_compressed(Compressed(data), MAX_PIXELS)


@pytest.mark.parametrize('share', [0.1, 0.3, 0.5, 0.7, 0.9, 0.99])
def test_a16_no_pixels_of_the_previous_frame_appear(share: float) -> None:
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
    assert drop_of(JPEG).reason is DropReason.BAD_FORMAT
