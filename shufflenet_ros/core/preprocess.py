# SPDX-License-Identifier: Apache-2.0
"""An image to the tensor that the card describes: crop, resize in uint8, then change the layout.

This order is the cheapest. Training and evaluation use the same function, so the network sees on the robot
what it was trained on.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from shufflenet_ros.core.card import CardInput
from shufflenet_ros.core.frame import F32, U8, DecodedImage
from shufflenet_ros.core.opencv import cv2, resize, swap_red_and_blue
from shufflenet_ros.core.reasons import DropReason, FrameError

_CV2_INTERPOLATION = {
    'nearest': cv2.INTER_NEAREST,
    'bilinear': cv2.INTER_LINEAR,
    'bicubic': cv2.INTER_CUBIC,
    'area': cv2.INTER_AREA,
}


def crop_window(height: int, width: int, size: tuple[int, int], crop: float) -> tuple[int, int, int, int]:
    """(top, left, height, width) of the centered window with size's aspect ratio.

    Raises:
        FrameError: TOO_SMALL if the window would have no pixels.
    """
    fit = min(height / size[0], width / size[1]) * crop
    h, w = round(size[0] * fit), round(size[1] * fit)
    if h < 1 or w < 1:
        raise FrameError(DropReason.TOO_SMALL, f'image of {width}x{height}: no pixels are left after the '
                         'center crop; use larger images')
    return (height - h) // 2, (width - w) // 2, h, w


def crop_and_resize(image: DecodedImage, spec: CardInput) -> U8:
    """The centered window at the card's size: (H, W, 3) uint8 in the image's own channel order."""
    top, left, h, w = crop_window(image.pixels.shape[0], image.pixels.shape[1], spec.size, spec.crop)
    window = image.pixels[top:top + h, left:left + w]
    if (h, w) == spec.size:
        return window
    return resize(window, spec.size, _CV2_INTERPOLATION[spec.interpolation])


def preprocess(image: DecodedImage, spec: CardInput) -> npt.NDArray[Any]:
    """The tensor of shape `spec.shape` and the card's dtype, C-contiguous.

    Raises:
        FrameError: TOO_SMALL.
    """
    pixels = crop_and_resize(image, spec)
    if image.color != spec.color:
        pixels = swap_red_and_blue(pixels)
    if spec.dtype == 'float32':
        return _normalize(pixels, spec)
    if spec.layout == 'NCHW':
        return np.stack(cv2.split(pixels))[None]
    return np.ascontiguousarray(pixels)[None]


def _normalize(pixels: U8, spec: CardInput) -> F32:
    """(pixel * scale - mean) / std, channel by channel: 8 times as fast as broadcasting over pixels."""
    tensor = np.empty(spec.shape, np.float32)
    planes = tensor[0] if spec.layout == 'NCHW' else tensor[0].transpose(2, 0, 1)
    for plane, channel, mean, std in zip(planes, cv2.split(pixels), spec.mean, spec.std, strict=True):
        # NumPy 1 would multiply uint8 by a small scalar in float16, hence the dtype.
        np.multiply(channel, np.float32(spec.scale / std), out=plane, dtype=np.float32)
        plane -= np.float32(mean / std)
    return tensor
