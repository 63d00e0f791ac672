# SPDX-License-Identifier: Apache-2.0
"""Messages and image files made for tests, and a slow decoder that shares no code with the fast one."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image as Pillow

SUPPORTED = [
    'mono8', 'mono16', 'rgb8', 'bgr8', 'rgba8', 'bgra8', '8UC1', '8UC3', '8UC4',
    'bayer_rggb8', 'bayer_bggr8', 'bayer_gbrg8', 'bayer_grbg8',
    'yuv422', 'uyvy', 'yuv422_yuy2', 'yuyv', 'nv12', 'nv21',
]
YUV = [name for name in SUPPORTED if name.startswith(('yu', 'uy', 'nv'))]

# The constants of sensor_msgs/image_encodings.hpp (Rolling).
ROS_ENCODINGS = [
    'rgb8', 'rgba8', 'rgb16', 'rgba16', 'bgr8', 'bgra8', 'bgr16', 'bgra16', 'mono8', 'mono16',
    *(f'{depth}C{n}' for depth in ('8U', '8S', '16U', '16S', '32S', '32F', '64F') for n in (1, 2, 3, 4)),
    *(f'bayer_{pattern}{bits}' for pattern in ('rggb', 'bggr', 'gbrg', 'grbg') for bits in (8, 16)),
    'yuv422', 'uyvy', 'yuv422_yuy2', 'yuyv', 'nv21', 'nv24',
]

BYTES_PER_PIXEL = dict.fromkeys(SUPPORTED, 1) | {
    'mono16': 2, 'rgb8': 3, 'bgr8': 3, '8UC3': 3, 'rgba8': 4, 'bgra8': 4, '8UC4': 4,
    'yuv422': 2, 'uyvy': 2, 'yuv422_yuy2': 2, 'yuyv': 2,
}


@dataclass
class Image:
    """The fields of sensor_msgs/Image, of any type, so that a test can send fields that no driver could."""

    height: Any
    width: Any
    encoding: Any
    step: Any
    data: Any
    is_bigendian: Any = 0


@dataclass
class Compressed:
    """The fields of sensor_msgs/CompressedImage."""

    data: Any
    format: Any = 'jpeg'


def smooth_rgb(height: int, width: int, seed: int = 0) -> np.ndarray:
    """(H, W, 3) uint8: smooth waves that differ by channel, so that swapped channels or shifted rows show."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / max(height, width)
    channels = []
    for _ in range(3):
        fx, fy, phase = rng.uniform(1, 5, 3)
        channels.append(128 + 80 * np.sin(fx * x + fy * y + phase) + 30 * np.cos(7 * x - fy * y))
    return np.clip(np.stack(channels, -1), 0, 255).astype(np.uint8)


def saved(rgb: np.ndarray, kind: str, mode: str = 'RGB', **options: Any) -> bytes:
    """The image as Pillow writes it to a file."""
    out = io.BytesIO()
    Pillow.fromarray(rgb).convert(mode).save(out, kind, **options)
    return out.getvalue()


def data_rows(encoding: str, height: int) -> int:
    """Rows of step bytes that an image of this height has."""
    return height * 3 // 2 if encoding in ('nv12', 'nv21') else height


def random_image(encoding: str, height: int, width: int, padding: int = 0, seed: int = 0) -> Image:
    """A valid message of noise, with noise in its padding too."""
    step = width * BYTES_PER_PIXEL[encoding] + padding
    rng = np.random.default_rng(seed)
    data = rng.integers(0, 256, step * data_rows(encoding, height), np.uint8)
    return Image(height, width, encoding, step, data)


def encode(rgb: np.ndarray, encoding: str, padding: int = 0) -> Image:
    """The image as a driver would send it, with 0xAA in its padding."""
    height, width = rgb.shape[:2]
    rows = _ENCODERS[encoding](rgb).reshape(data_rows(encoding, height), -1)
    step = rows.shape[1] + padding
    data = np.full((len(rows), step), 0xAA, np.uint8)
    data[:, :rows.shape[1]] = rows
    return Image(height, width, encoding, step, data.ravel())


def _alpha(rgb: np.ndarray) -> np.ndarray:
    return np.dstack([rgb, 255 - rgb[..., 0]])


def _mono(rgb: np.ndarray) -> np.ndarray:
    return np.rint(rgb @ [0.299, 0.587, 0.114]).astype(np.uint8)


def _bayer(pattern: str) -> Any:
    def mosaic(rgb: np.ndarray) -> np.ndarray:
        out = np.empty(rgb.shape[:2], np.uint8)
        for i, letter in enumerate(pattern):
            out[i // 2::2, i % 2::2] = rgb[i // 2::2, i % 2::2, 'rgb'.index(letter)]
        return out
    return mosaic


def _yuv(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """BT.601, limited range: Y, U, V as floats."""
    r, g, b = (rgb[..., i].astype(float) for i in range(3))
    y = 16 + 0.256788 * r + 0.504129 * g + 0.097906 * b
    u = 128 - 0.148223 * r - 0.290993 * g + 0.439216 * b
    v = 128 + 0.439216 * r - 0.367788 * g - 0.071427 * b
    return y, u, v


def _yuv422(order: str) -> Any:
    def pack(rgb: np.ndarray) -> np.ndarray:
        y, u, v = (np.rint(plane).astype(np.uint8) for plane in _yuv(rgb))
        parts = {'y': y[:, ::2], 'z': y[:, 1::2], 'u': u[:, ::2], 'v': v[:, ::2]}
        return np.stack([parts[letter] for letter in order], -1)
    return pack


def _yuv420(order: str) -> Any:
    def pack(rgb: np.ndarray) -> np.ndarray:
        y, u, v = (np.rint(plane).astype(np.uint8) for plane in _yuv(rgb))
        chroma = {'u': u[::2, ::2], 'v': v[::2, ::2]}
        return np.vstack([y, np.stack([chroma[c] for c in order], -1).reshape(len(y) // 2, -1)])
    return pack


_ENCODERS: dict[str, Any] = {
    'mono8': _mono, '8UC1': _mono, 'mono16': lambda rgb: np.stack([255 - _mono(rgb), _mono(rgb)], -1),
    'rgb8': lambda rgb: rgb, 'bgr8': lambda rgb: rgb[..., ::-1], '8UC3': lambda rgb: rgb[..., ::-1],
    'rgba8': _alpha, 'bgra8': lambda rgb: _alpha(rgb)[..., [2, 1, 0, 3]],
    '8UC4': lambda rgb: _alpha(rgb)[..., [2, 1, 0, 3]],
    'yuv422': _yuv422('uyvz'), 'uyvy': _yuv422('uyvz'),
    'yuv422_yuy2': _yuv422('yuzv'), 'yuyv': _yuv422('yuzv'),
    'nv12': _yuv420('uv'), 'nv21': _yuv420('vu'),
} | {f'bayer_{p}8': _bayer(p) for p in ('rggb', 'bggr', 'gbrg', 'grbg')}


def slow_decode(msg: Image, max_pixels: int) -> np.ndarray | None:
    """(H, W, 3) RGB by plain indexing and loops; None for a message that must be dropped."""
    w, h, step, name = msg.width, msg.height, msg.step, msg.encoding
    if name not in SUPPORTED or not (0 < w < 65536 and 0 < h < 65536) or w * h > max_pixels:
        return None
    if (name in YUV and w % 2) or (name in ('nv12', 'nv21') and h % 2):
        return None
    if name.startswith('bayer') and (w < 3 or h < 3):
        return None
    row_bytes = w * BYTES_PER_PIXEL[name]
    if step < row_bytes or (name == 'mono16' and step % 2):
        return None
    raw = bytes(msg.data)
    rows = data_rows(name, h)
    if len(raw) != rows * step:
        return None
    lines = np.array([list(raw[r * step:r * step + row_bytes]) for r in range(rows)], np.int64)
    return _SLOW[name](lines, bool(msg.is_bigendian)).astype(np.uint8)


def _pick(stride: int, order: tuple[int, int, int]) -> Any:
    return lambda lines, big: np.stack([lines[:, i::stride] for i in order], -1)


def _slow_mono16(lines: np.ndarray, big: bool) -> np.ndarray:
    first, second = lines[:, ::2], lines[:, 1::2]
    value = first * 256 + second if big else second * 256 + first
    return np.stack([value // 256] * 3, -1)


def _slow_bayer(pattern: str) -> Any:
    """Bilinear: the mean of the nearest samples of a color; the border repeats its inner neighbor."""
    def demosaic(lines: np.ndarray, big: bool) -> np.ndarray:
        h, w = lines.shape
        letter = [[pattern[(r % 2) * 2 + c % 2] for c in range(w)] for r in range(h)]
        out = np.zeros((h, w, 3), np.int64)
        for r in range(1, h - 1):
            for c in range(1, w - 1):
                for k, color in enumerate('rgb'):
                    if letter[r][c] == color:
                        out[r, c, k] = lines[r, c]
                        continue
                    near = [(a, b) for a, b in ((r, c - 1), (r, c + 1), (r - 1, c), (r + 1, c))
                            if letter[a][b] == color]
                    near = near or [(r + i, c + j) for i in (-1, 1) for j in (-1, 1)]
                    out[r, c, k] = (sum(lines[a, b] for a, b in near) + len(near) // 2) // len(near)
        out[:, 0], out[:, -1] = out[:, 1], out[:, -2]
        out[0], out[-1] = out[1], out[-2]
        return out
    return demosaic


def _from_yuv(y: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    y, u, v = 1.164383 * np.maximum(y - 16, 0), u - 128.0, v - 128.0
    rgb = np.stack([y + 1.596027 * v, y - 0.391762 * u - 0.812968 * v, y + 2.017232 * u], -1)
    return np.clip(np.rint(rgb), 0, 255)


def _slow_yuv422(y_at: int, u_at: int, v_at: int) -> Any:
    def unpack(lines: np.ndarray, big: bool) -> np.ndarray:
        return _from_yuv(lines[:, y_at::2], lines[:, u_at::4].repeat(2, 1), lines[:, v_at::4].repeat(2, 1))
    return unpack


def _slow_yuv420(u_at: int) -> Any:
    def unpack(lines: np.ndarray, big: bool) -> np.ndarray:
        height = len(lines) * 2 // 3
        chroma = lines[height:]
        u, v = (chroma[:, i::2].repeat(2, 0).repeat(2, 1) for i in (u_at, 1 - u_at))
        return _from_yuv(lines[:height], u, v)
    return unpack


_GRAY, _RGB, _BGR = _pick(1, (0, 0, 0)), _pick(3, (0, 1, 2)), _pick(3, (2, 1, 0))
_SLOW: dict[str, Any] = {
    'mono8': _GRAY, '8UC1': _GRAY, 'mono16': _slow_mono16, 'rgb8': _RGB, 'bgr8': _BGR, '8UC3': _BGR,
    'rgba8': _pick(4, (0, 1, 2)), 'bgra8': _pick(4, (2, 1, 0)), '8UC4': _pick(4, (2, 1, 0)),
    'yuv422': _slow_yuv422(1, 0, 2), 'uyvy': _slow_yuv422(1, 0, 2),
    'yuv422_yuy2': _slow_yuv422(0, 1, 3), 'yuyv': _slow_yuv422(0, 1, 3),
    'nv12': _slow_yuv420(0), 'nv21': _slow_yuv420(1),
} | {f'bayer_{p}8': _slow_bayer(p) for p in ('rggb', 'bggr', 'gbrg', 'grbg')}

# The slow decoder computes in floats, OpenCV in fixed point: they may round differently.
TOLERANCE = {name: int(name in YUV) for name in SUPPORTED}


def as_rgb(image: Any) -> np.ndarray:
    """A core DecodedImage's pixels in RGB."""
    return image.pixels if image.color == 'rgb' else image.pixels[..., ::-1]


def chunk(kind: bytes, body: bytes) -> bytes:
    """A PNG chunk with its checksum."""
    return struct.pack('>I', len(body)) + kind + body + struct.pack('>I', zlib.crc32(kind + body))


def png(size: tuple[int, int], depth: int, color_type: int, lines: bytes, interlace: int = 0,
        before_pixels: bytes = b'', pieces: int = 1, packed: bytes | None = None) -> bytes:
    """A PNG of filtered lines, or of a zlib stream; `pieces` IDAT chunks."""
    width, height = size
    header = struct.pack('>IIBBBBB', width, height, depth, color_type, 0, 0, interlace)
    packed = zlib.compress(lines) if packed is None else packed
    size_of_one = -(-len(packed) // pieces)
    pixels = b''.join(chunk(b'IDAT', packed[i:i + size_of_one]) for i in range(0, len(packed), size_of_one))
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + before_pixels + pixels + chunk(b'IEND', b'')


def before_zeros(lines: bytes, count: int) -> bytes:
    """A zlib stream of lines and then `count` zeros, in whole MiB; its checksum is wrong."""
    stream = zlib.compressobj(9)
    packed = stream.compress(lines) + stream.flush(zlib.Z_FULL_FLUSH)
    megabyte = stream.compress(bytes(1 << 20)) + stream.flush(zlib.Z_FULL_FLUSH)
    return packed + megabyte * (count >> 20) + stream.flush()


def filtered(rows: np.ndarray) -> bytes:
    """Each row's bytes after filter type 0."""
    return b''.join(b'\0' + row.tobytes() for row in rows)


def adam7(pixels: np.ndarray) -> bytes:
    """The filtered lines of an interlaced PNG."""
    passes = (
        (0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1),
    )
    parts = (pixels[top::down, left::right] for top, left, down, right in passes)
    return b''.join(filtered(np.ascontiguousarray(part)) for part in parts if part.size)


def jpeg_header(width: int, height: int, precision: int = 8, channels: int = 3, kind: int = 0xC0) -> bytes:
    """A JPEG's first bytes: start and a frame header with this size, and nothing after it."""
    frame = struct.pack('>BHHB', precision, height, width, channels)
    frame += b''.join(bytes((i + 1, 0x11, 0)) for i in range(channels))
    return b'\xff\xd8\xff' + bytes((kind,)) + struct.pack('>H', len(frame) + 2) + frame


def exif_with_thumbnail(orientation: int, thumbnail: bytes = b'') -> bytes:
    """An APP1 segment with an orientation and a JPEG thumbnail."""
    body = b'Exif\0\0II*\0\x08\0\0\0\x01\0' + struct.pack('<HHIHH', 0x0112, 3, 1, orientation, 0) + bytes(4)
    return b'\xff\xe1' + struct.pack('>H', len(body) + len(thumbnail) + 2) + body + thumbnail
