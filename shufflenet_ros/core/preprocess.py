"""A picture to the tensor that a card asks for: crop first, then resize in uint8, then the layout.

Cropping first and resizing uint8 is the cheap order; training and evaluation use this very function,
so that the network sees on the robot what it learnt from.
"""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from shufflenet_ros.core.card import CardInput
from shufflenet_ros.core.frame import U8, Picture
from shufflenet_ros.core.reasons import Dropped, Reason

_CV2_INTERPOLATION = {
    'nearest': cv2.INTER_NEAREST, 'bilinear': cv2.INTER_LINEAR, 'bicubic': cv2.INTER_CUBIC, 'area': cv2.INTER_AREA,
}


def crop_window(height: int, width: int, size: tuple[int, int], crop: float) -> tuple[int, int, int, int]:
    """(top, left, height, width) of the centred window with size's aspect ratio.

    Raises:
        Dropped: TOO_SMALL where the window would have no pixel.
    """
    fit = min(height / size[0], width / size[1]) * crop
    h, w = round(size[0] * fit), round(size[1] * fit)
    if h < 1 or w < 1:
        raise Dropped(Reason.TOO_SMALL, f'picture of {width}x{height}: nothing is left after the centre crop')
    return (height - h) // 2, (width - w) // 2, h, w


def crop_and_resize(picture: Picture, spec: CardInput) -> U8:
    """The centred window at the card's size: (H, W, 3) uint8 in the picture's own channel order."""
    top, left, h, w = crop_window(*picture.pixels.shape[:2], spec.size, spec.crop)
    window = picture.pixels[top:top + h, left:left + w]
    if (h, w) == spec.size:
        return window
    resized = cv2.resize(window, spec.size[::-1], interpolation=_CV2_INTERPOLATION[spec.interpolation])
    return np.asarray(resized, np.uint8)


def prepare(picture: Picture, spec: CardInput) -> npt.NDArray[Any]:
    """The tensor of shape `spec.shape` and the card's dtype, C-contiguous.

    Raises:
        Dropped: TOO_SMALL.
    """
    image = crop_and_resize(picture, spec)
    if picture.color != spec.color:
        image = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
    if spec.dtype == 'uint8':
        tensor: npt.NDArray[Any] = image
    else:
        gain = np.array([spec.scale / s for s in spec.std], np.float32)
        shift = np.array([-m / s for m, s in zip(spec.mean, spec.std)], np.float32)
        tensor = image.astype(np.float32)
        tensor *= gain
        tensor += shift
    if spec.layout == 'NCHW':
        tensor = tensor.transpose(2, 0, 1)
    return np.ascontiguousarray(tensor)[None]
