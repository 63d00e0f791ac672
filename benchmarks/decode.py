# SPDX-License-Identifier: Apache-2.0
"""Decoding and preprocessing on one core (`python -m benchmarks.decode`).

Compares this package with a simple node that resizes the whole image to 256, crops 224 and normalizes in
NumPy.
"""

from __future__ import annotations

import argparse
import array
import json
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmarks.timing import alternate, one_core
from shufflenet_ros.core.card import CardInput
from shufflenet_ros.core.decode import decode
from shufflenet_ros.core.encodings import ENCODINGS
from shufflenet_ros.core.opencv import cv2
from shufflenet_ros.core.preprocess import preprocess

HEIGHT, WIDTH = 720, 1280
MAX_PIXELS = 40_000_000
ROUNDS = 200
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)
UINT8_INPUT = CardInput('NHWC', 'uint8', (224, 224), 'rgb')
FLOAT_INPUT = CardInput('NCHW', 'float32', (224, 224), 'rgb', 1 / 255, tuple(map(float, MEAN)),
                        tuple(map(float, STD)), 0.875)
FILES = {'jpeg quality 90': ('.jpg', [cv2.IMWRITE_JPEG_QUALITY, 90]),
         'jpeg progressive': ('.jpg', [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]), 'png': ('.png', [])}


def measure() -> dict[str, Any]:
    """Return the median milliseconds of each method and encoding: 1280x720, one core, one OpenCV thread."""
    rng = np.random.default_rng(0)
    scene = cv2.GaussianBlur(rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8), (0, 0), 2)
    message = _raw('bgr8', scene)
    messages = {f'raw {name}': _raw(name, scene) for name in ENCODINGS}
    for name, (suffix, options) in FILES.items():
        data = array.array('B', cv2.imencode(suffix, scene, options)[1].tobytes())
        messages[f'{name}, {len(data) // 1000} kB'] = SimpleNamespace(format='', data=data)
    with one_core():
        tensor = _medians_ms({
            'uint8': lambda: preprocess(decode(message, MAX_PIXELS), UINT8_INPUT),
            'float': lambda: preprocess(decode(message, MAX_PIXELS), FLOAT_INPUT),
            'naive': lambda: _naive(message),
        }, ROUNDS)
        decoding = _medians_ms({name: partial(decode, m, MAX_PIXELS) for name, m in messages.items()},
                               ROUNDS // 10)
    return {
        'bgr8_message_to_tensor_ms': tensor['uint8'],
        'bgr8_message_to_float_tensor_ms': tensor['float'],
        'bgr8_message_to_tensor_naive_ms': tensor['naive'],
        'naive_over_ours': round(tensor['naive'] / tensor['uint8'], 1),
        'image': f'{WIDTH}x{HEIGHT}',
        'decode_ms': decoding,
    }


def _naive(message: Any) -> Any:
    """Resize the whole image to 256 pixels, crop the central 224, normalize, transpose."""
    image = np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, 3)
    scale = 256 / min(image.shape[:2])
    image = cv2.resize(image, (round(image.shape[1] * scale), round(image.shape[0] * scale)))
    top, left = (image.shape[0] - 224) // 2, (image.shape[1] - 224) // 2
    image = image[top:top + 224, left:left + 224, ::-1]
    normalized = (image.astype(np.float32) / 255 - MEAN) / STD
    return np.ascontiguousarray(normalized.transpose(2, 0, 1))[None]


def _raw(name: str, scene: Any) -> Any:
    """Return a message of this encoding and the right size; the pixels do not affect the time."""
    encoding = ENCODINGS[name]
    step = WIDTH * encoding.channels
    data = array.array('B', np.resize(scene, step * HEIGHT * encoding.rows_of_two // 2).tobytes())
    return SimpleNamespace(height=HEIGHT, width=WIDTH, encoding=name, step=step, data=data, is_bigendian=0)


def _medians_ms(functions: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    return {name: round(float(np.median(seconds)) * 1e3, 4)
            for name, seconds in alternate(functions, rounds).items()}


if __name__ == '__main__':
    argparse.ArgumentParser(prog='python -m benchmarks.decode', description=__doc__).parse_args()
    print(json.dumps(measure(), indent=1))
