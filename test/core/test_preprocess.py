# SPDX-License-Identifier: Apache-2.0
"""Images to tensors, against NumPy written the slow way."""

from dataclasses import replace
from itertools import product

import cv2
import numpy as np
import pytest
from image_vectors import encode, smooth_rgb

from shufflenet_ros.bundles.golden import golden_image
from shufflenet_ros.core.card import CardInput
from shufflenet_ros.core.frame import DecodedImage
from shufflenet_ros.core.image import decode_image
from shufflenet_ros.core.preprocess import crop_and_resize, crop_window, preprocess
from shufflenet_ros.core.reasons import DropReason, FrameError

UINT8 = CardInput('NHWC', 'uint8', (32, 32), 'rgb')
IMAGENET = CardInput(
    'NCHW', 'float32', (32, 32), 'rgb', 1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 0.875)


@pytest.mark.parametrize(('image', 'size', 'crop', 'window'), [
    ((480, 640), (224, 224), 1.0, (0, 80, 480, 480)),
    ((640, 480), (224, 224), 1.0, (80, 0, 480, 480)),
    ((480, 640), (224, 224), 0.875, (30, 110, 420, 420)),
    ((100, 100), (64, 64), 1.0, (0, 0, 100, 100)),
    ((720, 1280), (64, 128), 1.0, (40, 0, 640, 1280)),
    ((720, 1280), (128, 64), 1.0, (0, 460, 720, 360)),
    ((3, 5000), (64, 64), 1.0, (0, 2498, 3, 3)),
    ((1, 1), (224, 224), 1.0, (0, 0, 1, 1)),
    ((7, 7), (64, 64), 0.5, (1, 1, 4, 4)),
])
def test_crop_window(image: tuple[int, int], size: tuple[int, int], crop: float, window: tuple) -> None:
    assert crop_window(*image, size, crop) == window


def test_crop_window_lies_inside_the_image() -> None:
    sides, crops = (1, 2, 3, 17, 480, 4321), (0.01, 0.3, 0.875, 1.0)
    for height, width, h, w, crop in product(sides, sides, (1, 224), (1, 65), crops):
        try:
            top, left, rows, columns = crop_window(height, width, (h, w), crop)
        except FrameError as drop:
            assert drop.reason is DropReason.TOO_SMALL
            continue
        assert top >= 0 and left >= 0 and rows >= 1 and columns >= 1
        assert top + rows <= height and left + columns <= width


def test_an_empty_crop_is_too_small() -> None:
    with pytest.raises(FrameError) as caught:
        preprocess(DecodedImage(np.zeros((1, 1, 3), np.uint8), 'rgb'), replace(UINT8, crop=0.3))
    assert caught.value.reason is DropReason.TOO_SMALL


def slow_preprocess(image: DecodedImage, spec: CardInput) -> np.ndarray:
    """Crop and resize by OpenCV (its filters are not ours to check), the rest in float64."""
    top, left, h, w = crop_window(*image.pixels.shape[:2], spec.size, spec.crop)
    codes = {'nearest': 0, 'bilinear': 1, 'bicubic': 2, 'area': 3}
    window = np.array(image.pixels[top:top + h, left:left + w])
    pixels = cv2.resize(window, spec.size[::-1], interpolation=codes[spec.interpolation])
    if image.color != spec.color:
        pixels = pixels[..., ::-1]
    if spec.dtype == 'float32':
        pixels = (pixels.astype(np.float64) * spec.scale - spec.mean) / spec.std
    if spec.layout == 'NCHW':
        pixels = np.moveaxis(pixels, -1, 0)
    return pixels[None]


@pytest.mark.parametrize('layout', ['NHWC', 'NCHW'])
@pytest.mark.parametrize('dtype', ['uint8', 'float32'])
@pytest.mark.parametrize('color', ['rgb', 'bgr'])
@pytest.mark.parametrize('interpolation', ['nearest', 'bilinear', 'bicubic', 'area'])
@pytest.mark.parametrize('encoding', ['rgb8', 'bgr8'])
def test_equals_slow_numpy(layout: str, dtype: str, color: str, interpolation: str, encoding: str) -> None:
    spec = replace(IMAGENET, layout=layout, dtype=dtype, color=color, interpolation=interpolation)
    spec = replace(spec, size=(24, 40))
    image = decode_image(encode(smooth_rgb(90, 120), encoding, 5), 10**6)
    tensor, expected = preprocess(image, spec), slow_preprocess(image, spec)
    assert tensor.shape == spec.shape and tensor.dtype == dtype and tensor.flags.c_contiguous
    assert np.abs(tensor - expected).max() <= (0 if dtype == 'uint8' else 2e-6)


@pytest.mark.parametrize('spec', [UINT8, IMAGENET, replace(UINT8, size=(48, 64))])
def test_neither_padding_nor_channel_order_changes_the_tensor(spec: CardInput) -> None:
    rgb = smooth_rgb(48, 64)
    messages = [encode(rgb, name, padding) for name in ('rgb8', 'bgr8') for padding in (0, 1, 64)]
    first, *others = (preprocess(decode_image(message, 10**6), spec) for message in messages)
    assert all(np.array_equal(first, other) for other in others)


@pytest.mark.parametrize('interpolation', ['nearest', 'bilinear', 'bicubic', 'area'])
@pytest.mark.parametrize('value', [0, 1, 127, 254, 255])
@pytest.mark.parametrize('size', [(1, 1), (5, 9), (32, 32), (100, 300)])
def test_a_constant_stays_constant(interpolation: str, value: int, size: tuple[int, int]) -> None:
    spec = replace(UINT8, interpolation=interpolation)
    assert (preprocess(DecodedImage(np.full((*size, 3), value, np.uint8), 'bgr'), spec) == value).all()


def test_a_single_pixel_can_be_resized_and_swapped() -> None:
    pixel = np.array([[[1, 2, 3]]], np.uint8)
    for size in ((1, 1), (3, 2)):
        for color, expected in (('rgb', (1, 2, 3)), ('bgr', (3, 2, 1))):
            tensor = preprocess(DecodedImage(pixel, color), replace(UINT8, size=size))
            assert tensor.shape == (1, *size, 3) and (tensor == expected).all()


def test_an_image_of_the_right_size_is_not_changed() -> None:
    rgb = smooth_rgb(32, 32)
    assert np.array_equal(preprocess(DecodedImage(rgb, 'rgb'), UINT8)[0], rgb)


def test_the_message_is_not_modified() -> None:
    msg = encode(smooth_rgb(32, 32), 'rgb8')
    before = msg.data.copy()
    tensor = preprocess(decode_image(msg, 10**6), replace(IMAGENET, crop=1.0))
    tensor += 1
    assert np.array_equal(msg.data, before)


def test_a_wide_image_is_not_cropped_for_a_wide_input() -> None:
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, :20] = 200
    image = crop_and_resize(DecodedImage(pixels, 'rgb'), replace(UINT8, size=(10, 20)))
    assert (image[:, :9] == 200).all() and (image[:, 11:] == 0).all()


def test_golden_image_is_its_formula() -> None:
    image = golden_image((5, 7))
    assert image.color == 'rgb' and image.pixels.dtype == np.uint8
    for y, x, c in product(range(5), range(7), range(3)):
        assert image.pixels[y, x, c] == (7 * y + 13 * x + 29 * c + x * y) % 256
    assert golden_image((300, 300)).pixels[299, 299, 2] == (7 * 299 + 13 * 299 + 58 + 299 * 299) % 256
