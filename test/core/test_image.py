# SPDX-License-Identifier: Apache-2.0
"""Raw frames: rows A1 to A9 of the fault list, and every encoding against two other decoders."""

import array
import tracemalloc
from itertools import product
from typing import Any

import cv2
import numpy as np
import pytest
from image_vectors import (
    BYTES_PER_PIXEL,
    ROS_ENCODINGS,
    SUPPORTED,
    TOLERANCE,
    YUV,
    Image,
    as_rgb,
    data_rows,
    encode,
    random_image,
    slow_decode,
    smooth_rgb,
)
from rosbags.image import ImageError, message_to_cvimage

from shufflenet_ros.core.card import CardInput
from shufflenet_ros.core.image import decode_image
from shufflenet_ros.core.preprocess import preprocess
from shufflenet_ros.core.reasons import DropReason, FrameError

MAX_PIXELS = 40_000_000
VIEWS = ('rgb8', 'bgr8', '8UC3')


def reason_of(msg: Image, max_pixels: int = MAX_PIXELS) -> DropReason:
    with pytest.raises(FrameError) as caught:
        decode_image(msg, max_pixels)
    assert len(caught.value.detail) <= 300 and caught.value.detail.isprintable()
    return caught.value.reason


@pytest.mark.parametrize('encoding', SUPPORTED)
@pytest.mark.parametrize('size', [(4, 6), (16, 10), (30, 42)])
def test_equals_slow_decoder(encoding: str, size: tuple[int, int]) -> None:
    for padding in (0, 2, 64):
        msg = random_image(encoding, *size, padding=padding, seed=padding)
        expected = slow_decode(msg, MAX_PIXELS)
        assert expected is not None
        image = decode_image(msg, MAX_PIXELS)
        assert image.pixels.shape == (*size, 3) and image.pixels.dtype == np.uint8
        assert np.abs(as_rgb(image).astype(int) - expected).max() <= TOLERANCE[encoding]


@pytest.mark.parametrize('encoding', SUPPORTED)
def test_equals_rosbags_image(encoding: str) -> None:
    msg = random_image(encoding, 12, 16, seed=3)
    # rosbags-image counts the height of nv12 and nv21 in rows of data, and does not treat 8UCn as color.
    known_as = {'8UC1': 'mono8', '8UC3': 'bgr8', '8UC4': 'bgra8'}.get(encoding, encoding)
    theirs_msg = Image(data_rows(encoding, 12), 16, known_as, msg.step, msg.data)
    try:
        theirs = message_to_cvimage(theirs_msg, 'bgr8')
    except ImageError:
        assert encoding in YUV
        pytest.skip(f'rosbags-image knows no {encoding} with OpenCV {cv2.__version__}')
    ours = as_rgb(decode_image(msg, MAX_PIXELS))[..., ::-1].astype(int)
    # Its mono16 is scaled by 255 / 65535 and truncated; the high byte differs by at most one.
    assert np.abs(ours - theirs).max() <= (1 if encoding == 'mono16' else 0)


@pytest.mark.parametrize('encoding', SUPPORTED)
def test_a1_padded_rows_equal_contiguous_rows(encoding: str) -> None:
    rgb = smooth_rgb(24, 32)
    plain = decode_image(encode(rgb, encoding), MAX_PIXELS)
    for padding in (2, 4, 16, 100):  # 2 and 4 are not multiples of three channels
        padded = decode_image(encode(rgb, encoding, padding), MAX_PIXELS)
        assert np.array_equal(padded.pixels, plain.pixels) and padded.color == plain.color


@pytest.mark.parametrize(('encoding', 'width', 'step'), [
    ('bgr8', 6, 9), ('bgr8', 6, 0), ('bgr8', 6, 17), ('mono8', 5, 4), ('rgba8', 5, 19), ('yuv422', 6, 11),
    ('nv12', 6, 5), ('bayer_rggb8', 6, 5), ('mono16', 5, 9), ('mono16', 5, 11),
    ('bgr8', 6, -18), ('bgr8', 6, 18.0), ('bgr8', 6, None),
])
def test_a1_bad_step_is_reported(encoding: str, width: int, step: int) -> None:
    data = bytes(max(int(step or 0), 0) * data_rows(encoding, 4))
    assert reason_of(Image(4, width, encoding, step, data)) is DropReason.BAD_STEP


@pytest.mark.parametrize('encoding', SUPPORTED)
def test_a2_data_must_have_exactly_step_bytes_per_row(encoding: str) -> None:
    for padding in (0, 2):
        good = random_image(encoding, 4, 6, padding=padding)
        whole = bytes(good.data)
        for missing in (1, 2, good.step, len(whole)):
            good.data = whole[:len(whole) - missing]
            assert reason_of(good) is DropReason.SHORT_DATA
        for extra in (1, 2, good.step):
            good.data = whole + bytes(extra)
            assert reason_of(good) is DropReason.LONG_DATA


SIDES = (0, 1, 2, 255, 32_767, 65_535, 65_536, 2**24, 2**31 - 1, 2**31, 2**32 - 1, -1)


@pytest.mark.parametrize(('width', 'height'), list(product(SIDES, SIDES)))
def test_a3_sizes_are_rejected_before_any_allocation(width: int, height: int) -> None:
    possible = all(0 < side < 65_536 for side in (width, height))
    expected = DropReason.BAD_SIZE if not possible else (
        DropReason.TOO_LARGE if width * height > MAX_PIXELS else DropReason.SHORT_DATA)
    tracemalloc.start()
    try:
        assert reason_of(Image(height, width, 'mono8', width, b'')) is expected
        assert tracemalloc.get_traced_memory()[1] < 5e6
    finally:
        tracemalloc.stop()


def test_a3_sizes_that_are_not_integers_are_rejected() -> None:
    for side in (None, 1.5, 'a', b''):
        assert reason_of(Image(side, 4, 'mono8', 4, b'')) is DropReason.BAD_SIZE


def test_a4_pixels_up_to_the_limit() -> None:
    data = np.zeros((4320, 7680 * 3), np.uint8)
    image = decode_image(Image(4320, 7680, 'bgr8', 7680 * 3, data), MAX_PIXELS)
    assert image.pixels.shape == (4320, 7680, 3)
    assert reason_of(Image(10_000, 10_000, 'bgr8', 30_000, b'')) is DropReason.TOO_LARGE
    small = random_image('mono8', 10, 10)
    assert decode_image(small, 100).pixels.shape == (10, 10, 3)
    assert reason_of(small, 99) is DropReason.TOO_LARGE


ODD_NAMES = ['', 'x' * 10_000, 'bgr8\0', '\0', 'bgr8 ', 'BGR8', 'größe', '\ud800', 'rgb8; jpeg', '8UC',
             None, 7, b'bgr8', ['bgr8']]


@pytest.mark.parametrize('encoding', sorted(set(ROS_ENCODINGS + SUPPORTED)) + ODD_NAMES)
def test_a5_each_encoding_is_right_or_reported(encoding: Any) -> None:
    if encoding in SUPPORTED:
        assert decode_image(random_image(encoding, 4, 4), MAX_PIXELS).pixels.shape == (4, 4, 3)
        return
    with pytest.raises(FrameError) as caught:
        decode_image(Image(4, 4, encoding, 128, bytes(512)), MAX_PIXELS)
    detail = caught.value.detail
    assert caught.value.reason is DropReason.BAD_ENCODING
    assert len(detail) <= 300 and detail.isascii() and detail.isprintable()
    assert all(name in detail for name in SUPPORTED) or 'depth is not classified' in detail


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.ravel() - a.mean(), b.ravel() - b.mean()
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.mark.parametrize('encoding', SUPPORTED)
def test_a6_one_image_looks_the_same_in_each_encoding(encoding: str) -> None:
    rgb = smooth_rgb(64, 96)
    expected = rgb
    if 'mono' in encoding or encoding == '8UC1':
        expected = np.repeat(np.rint(rgb @ [0.299, 0.587, 0.114]).astype(np.uint8)[..., None], 3, 2)
    got = as_rgb(decode_image(encode(rgb, encoding, 2), MAX_PIXELS))
    if encoding.startswith('bayer') or encoding in YUV:
        assert cosine(got.astype(float), expected.astype(float)) >= 0.99
        assert np.abs(got.astype(int) - expected).mean() < 3
    else:
        assert np.array_equal(got, expected)


@pytest.mark.parametrize('encoding', SUPPORTED)
def test_a7_big_endian_matters_for_16_bits_alone(encoding: str) -> None:
    little = random_image(encoding, 6, 8, seed=5)
    swapped = little.data.reshape(-1, 2)[:, ::-1].ravel() if encoding == 'mono16' else little.data
    big = Image(6, 8, encoding, little.step, swapped, 1)
    assert np.array_equal(decode_image(big, MAX_PIXELS).pixels, decode_image(little, MAX_PIXELS).pixels)


@pytest.mark.parametrize('encoding', ['16UC1', '32FC1', '64FC1', '32FC3', '64FC4'])
@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf, 1e308, 0.0])
def test_a8_depth_and_floats_are_not_classified(encoding: str, value: float) -> None:
    data = np.full(32, value).tobytes()
    with pytest.raises(FrameError) as caught:
        decode_image(Image(4, 4, encoding, 64, data), MAX_PIXELS)
    assert caught.value.reason is DropReason.BAD_ENCODING
    assert encoding[-1] != '1' or 'depth is not classified' in caught.value.detail


@pytest.mark.parametrize('size', [(1, 1), (1, 2), (2, 1), (1, 640), (640, 1), (3, 5000), (5000, 3), (48, 64)])
@pytest.mark.parametrize('value', [0, 77, 255])
def test_a9_constant_and_odd_shaped_images_stay_constant(size: tuple[int, int], value: int) -> None:
    for encoding in ('mono8', 'mono16', 'bgr8', 'rgba8'):
        step = size[1] * BYTES_PER_PIXEL[encoding]
        data = np.full(step * size[0], value, np.uint8)
        image = decode_image(Image(*size, encoding, step, data), MAX_PIXELS)
        tensor = preprocess(image, CardInput('NHWC', 'uint8', (64, 64), 'rgb'))
        assert tensor.shape == (1, 64, 64, 3) and (tensor == value).all()


@pytest.mark.parametrize('encoding', ['bayer_rggb8', 'bayer_bggr8', 'bayer_gbrg8', 'bayer_grbg8'])
def test_a9_a_mosaic_without_neighbors_is_too_small(encoding: str) -> None:
    for size in ((1, 1), (2, 2), (2, 640), (640, 2)):
        assert reason_of(random_image(encoding, *size)) is DropReason.TOO_SMALL
    assert decode_image(random_image(encoding, 3, 3), MAX_PIXELS).pixels.shape == (3, 3, 3)


@pytest.mark.parametrize(('encoding', 'size'), [
    ('yuv422', (4, 5)), ('yuv422_yuy2', (4, 3)), ('nv12', (4, 5)), ('nv12', (5, 4)), ('nv21', (3, 3)),
])
def test_shared_chroma_needs_even_sides(encoding: str, size: tuple[int, int]) -> None:
    assert reason_of(random_image(encoding, *size)) is DropReason.BAD_SIZE


@pytest.mark.parametrize('encoding', SUPPORTED)
def test_pixels_are_a_view_if_no_conversion_is_needed(encoding: str) -> None:
    for padding in (0, 2):
        msg = random_image(encoding, 6, 8, padding)
        shares = np.shares_memory(decode_image(msg, MAX_PIXELS).pixels, msg.data)
        assert shares == (encoding in VIEWS)


@pytest.mark.parametrize('encoding', SUPPORTED)
def test_any_buffer_is_accepted_and_not_modified(encoding: str) -> None:
    msg = random_image(encoding, 6, 8, 2)
    expected = decode_image(msg, MAX_PIXELS).pixels.copy()
    before = bytes(msg.data)
    read_only = msg.data.copy()
    read_only.flags.writeable = False
    for data in (before, bytearray(before), memoryview(before), array.array('B', before), read_only,
                 msg.data.reshape(-1, 2), msg.data.view(np.int8)):
        msg.data = data
        image = decode_image(msg, MAX_PIXELS)
        assert np.array_equal(image.pixels, expected)
        preprocess(image, CardInput('NCHW', 'float32', (5, 5), 'rgb'))
        assert bytes(memoryview(data).cast('B')) == before


@pytest.mark.parametrize('data', [
    None, 'text', [1, 2, 3], 5, np.zeros(12, np.float32), np.zeros(24, np.uint8)[::2],
])
def test_data_that_is_not_a_buffer_of_bytes_is_reported(data: object) -> None:
    assert reason_of(Image(2, 2, 'bgr8', 6, data)) is DropReason.BAD_FORMAT


@pytest.mark.parametrize('error', [MemoryError(), cv2.error('stand-in')])
def test_a_failed_allocation_is_no_memory(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    if isinstance(error, cv2.error):
        error.code = cv2.Error.StsNoMem

    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(cv2, 'cvtColor', fails)
    assert reason_of(random_image('mono8', 4, 4)) is DropReason.NO_MEMORY
