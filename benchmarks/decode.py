"""Decoding and preparing on one core: `python -m benchmarks.decode` prints the figures as JSON.

Our way and the naive one (resize the whole image to 256, crop 224, normalize in NumPy) take turns in one
run, so that a noisy machine troubles both alike.
"""

from __future__ import annotations

import argparse
import array
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np

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
OUR_INPUT = CardInput('NHWC', 'uint8', (224, 224), 'rgb')
FLOAT_INPUT = CardInput('NCHW', 'float32', (224, 224), 'rgb', 1 / 255, tuple(map(float, MEAN)),
                        tuple(map(float, STD)), 0.875)


def measure() -> dict[str, Any]:
    """Median milliseconds of each way and each encoding, 1280x720, one core, one OpenCV thread."""
    rng = np.random.default_rng(0)
    scene = cv2.GaussianBlur(rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8), (0, 0), 2)
    message = _raw('bgr8', scene)
    ways: dict[str, Callable[[], Any]] = {
        'ours': lambda: preprocess(decode(message, MAX_PIXELS), OUR_INPUT),
        'ours_float': lambda: preprocess(decode(message, MAX_PIXELS), FLOAT_INPUT),
        'naive': lambda: _naive(message),
    }
    encodings = {f'raw {name}': _raw(name, scene) for name in ENCODINGS}
    files = {'jpeg quality 90': ('.jpg', [cv2.IMWRITE_JPEG_QUALITY, 90]),
             'jpeg progressive': ('.jpg', [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]), 'png': ('.png', [])}
    for name, (kind, options) in files.items():
        data = array.array('B', cv2.imencode(kind, scene, options)[1].tobytes())
        encodings[f'{name}, {len(data) // 1000} kB'] = SimpleNamespace(format='', data=data)
    decoders = {name: _decoder(msg) for name, msg in encodings.items()}
    with _one_core():
        tensor = _medians(ways, ROUNDS)
        decoding = _medians(decoders, ROUNDS // 10)
    return {
        'bgr8_message_to_tensor_ms': tensor['ours'],
        'bgr8_message_to_float_tensor_ms': tensor['ours_float'],
        'bgr8_message_to_tensor_naive_ms': tensor['naive'],
        'naive_over_ours': round(tensor['naive'] / tensor['ours'], 1),
        'image': f'{WIDTH}x{HEIGHT}',
        'decode_ms': decoding,
    }


def _naive(message: Any) -> Any:
    """What a first node does: whole image to 256 pixels, center crop of 224, normalize, transpose."""
    image = np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, 3)
    scale = 256 / min(image.shape[:2])
    image = cv2.resize(image, (round(image.shape[1] * scale), round(image.shape[0] * scale)))
    top, left = (image.shape[0] - 224) // 2, (image.shape[1] - 224) // 2
    image = image[top:top + 224, left:left + 224, ::-1]
    normalized = (image.astype(np.float32) / 255 - MEAN) / STD
    return np.ascontiguousarray(normalized.transpose(2, 0, 1))[None]


def _raw(name: str, scene: Any) -> Any:
    """A message of the right size in this encoding; its pixels do not matter to the time."""
    encoding = ENCODINGS[name]
    step = WIDTH * encoding.channels
    data = array.array('B', np.resize(scene, step * HEIGHT * encoding.rows_of_two // 2).tobytes())
    return SimpleNamespace(height=HEIGHT, width=WIDTH, encoding=name, step=step, data=data, is_bigendian=0)


def _decoder(message: Any) -> Callable[[], Any]:
    return lambda: decode(message, MAX_PIXELS)


def _medians(ways: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Each way once a round, in turn: median milliseconds by name."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way()
    for _ in range(rounds):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            times[name].append(time.perf_counter() - started)
    return {name: round(float(np.median(taken)) * 1e3, 4) for name, taken in times.items()}


@contextmanager
def _one_core() -> Iterator[None]:
    """Keep this process on the last of its cores, and OpenCV in one thread."""
    cores, threads = os.sched_getaffinity(0), cv2.getNumThreads()
    os.sched_setaffinity(0, {max(cores)})
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
        cv2.setNumThreads(threads)


if __name__ == '__main__':
    argparse.ArgumentParser(prog='python -m benchmarks.decode', description=__doc__).parse_args()
    print(json.dumps(measure(), indent=1))
