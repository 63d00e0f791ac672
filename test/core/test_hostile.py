# SPDX-License-Identifier: Apache-2.0
"""Rows A11 and A12 of the fault list, and 20,000 hostile frames: none escapes, none is wrongly accepted."""

import io
import json
import os
import random
import subprocess
import sys
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from image_vectors import (
    BYTES_PER_PIXEL,
    ROS_ENCODINGS,
    SUPPORTED,
    TOLERANCE,
    Compressed,
    Image,
    adam7,
    as_rgb,
    before_zeros,
    chunk,
    data_rows,
    encode,
    exif_with_thumbnail,
    filtered,
    jpeg_header,
    png,
    saved,
    slow_decode,
    smooth_rgb,
)
from PIL import Image as Pillow

from shufflenet_ros.core.decode import decode
from shufflenet_ros.core.reasons import FrameError

RAW_FRAMES, COMPRESSED_FRAMES = 15_000, 5_000
FRAMES_PER_SEED = 20  # hypothesis draws the seed alone: drawing each field takes it longer than the decoder
MAX_PIXELS = 4096
RGB = smooth_rgb(24, 32)
# Each decoder fills in a damaged JPEG in its own way. libjpeg-turbo 3, in Pillow and OpenCV 4.10 and later,
# differs from 2.1 in OpenCV 4.5 and 4.6, so with those the pixels are not compared.
SAME_DECODER = tuple(map(int, cv2.__version__.split('.')[:2])) >= (4, 10)

JPEG, PNG = saved(RGB, 'JPEG'), png((32, 24), 8, 2, filtered(RGB))
FILES = [
    JPEG, saved(RGB, 'JPEG', progressive=True), saved(RGB, 'JPEG', restart_marker_blocks=1),
    saved(RGB, 'JPEG', quality=95, subsampling=0),
    b'\xff\xd8' + exif_with_thumbnail(6, saved(RGB, 'JPEG', quality=10)) + JPEG[2:],
    PNG, png((32, 24), 8, 2, adam7(RGB), interlace=1),
    png((32, 24), 8, 0, filtered(RGB[..., 0]), pieces=5),
    png((32, 24), 16, 2, filtered(RGB.astype('>u2') * 257)),
]
GOOD = [encode(RGB, name, 2) for name in SUPPORTED] + [Compressed(data) for data in FILES]
EXPECTED = [decode(msg, MAX_PIXELS).pixels.copy() for msg in GOOD]


def examples(count: int) -> settings:
    """The same examples in each run, however slow the machine."""
    return settings(max_examples=count, derandomize=True, deadline=None, database=None,
                    suppress_health_check=[HealthCheck.too_slow])


class Tally:
    """Counts how frames ended, and checks that a good frame afterwards is decoded as before."""

    def __init__(self) -> None:
        self.ends: Counter[str] = Counter()

    def decode(self, msg: object) -> np.ndarray | None:
        """The frame's RGB pixels or None; any exception but FrameError fails the test."""
        try:
            rgb = as_rgb(decode(msg, MAX_PIXELS)).copy()
        except FrameError as drop:
            assert len(drop.detail) <= 300 and drop.detail.isascii() and drop.detail.isprintable()
            self.ends[drop.reason] += 1
            rgb = None
        else:
            self.ends['accepted'] += 1
        turn = self.ends.total() % len(GOOD)
        assert np.array_equal(decode(GOOD[turn], MAX_PIXELS).pixels, EXPECTED[turn])
        return rgb

    def check_coverage(self, frames: int, reasons: set[str]) -> None:
        """The frames must have ended in all of these ways, or the test shows nothing."""
        assert self.ends.total() >= frames
        assert self.ends['accepted'] >= frames // 20
        assert set(self.ends) >= reasons


def near(rng: random.Random, value: int) -> int:
    """Mostly the value, sometimes one near it, seldom any number."""
    others = (value + rng.randint(-3, 3), 0, rng.randrange(2**16), rng.randrange(2**32))
    return rng.choice((value,) * 12 + others)


def raw_frame(rng: random.Random) -> Image:
    """Near a valid message in most fields, far from it in some."""
    name = rng.choice((*SUPPORTED * 4, *ROS_ENCODINGS, '', 'BGR8', 'x' * 10_000, '\0\ud800'))
    width, height = rng.randint(1, 9), rng.randint(1, 9)
    row = width * BYTES_PER_PIXEL.get(name, 3)
    step = max(0, row + rng.choice((0, 0, 0, 1, 2, 3, 13, -1, -2, -row)))
    length = near(rng, step * data_rows(name, height)) % 2000
    claims = (near(rng, height), near(rng, width), name, near(rng, step))
    return Image(*claims, rng.randbytes(length), rng.randrange(256))


def test_hostile_raw_frames() -> None:
    tally = Tally()

    @examples(RAW_FRAMES // FRAMES_PER_SEED)
    @given(st.integers(0, 2**64 - 1))
    def check(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(FRAMES_PER_SEED):
            msg = raw_frame(rng)
            got, expected = tally.decode(msg), slow_decode(msg, MAX_PIXELS)
            assert (got is None) == (expected is None), msg
            if got is not None and expected is not None:
                assert got.shape == expected.shape, msg
                assert np.abs(got.astype(int) - expected).max() <= TOLERANCE[msg.encoding], msg

    check()
    tally.check_coverage(RAW_FRAMES, {'bad_encoding', 'bad_size', 'too_large', 'too_small', 'bad_step',
                                      'short_data', 'long_data'})


def damaged(rng: random.Random, data: bytes) -> bytes:
    """The file after one to four kinds of damage."""
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data) + 1)
        end = at + rng.randint(1, 40)
        data = rng.choice((
            data[:at] + bytes(b ^ 1 << rng.randrange(8) for b in data[at:at + 1]) + data[at + 1:],
            data[:at] + bytes((rng.randrange(256),)) * len(data[at:end]) + data[end:],
            data[:at] + data[end:],
            data[:end] + data[at:],
            data[:at] if rng.random() < 0.3 else data,
            data + rng.randbytes(rng.randrange(9)),
        ))
    return data


def test_hostile_compressed_frames() -> None:
    tally = Tally()

    @examples(COMPRESSED_FRAMES // FRAMES_PER_SEED)
    @given(st.integers(0, 2**64 - 1))
    def check(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(FRAMES_PER_SEED):
            data = damaged(rng, rng.choice(FILES))
            got = tally.decode(Compressed(data))
            if got is not None:
                with warnings.catch_warnings():
                    warnings.simplefilter('ignore')  # Pillow's, about metadata that we do not read
                    expected = np.asarray(Pillow.open(io.BytesIO(data)).convert('RGB'))
                assert got.shape == expected.shape, data
                if data[0] == 0xFF and not SAME_DECODER:
                    continue
                assert np.abs(got.astype(int) - expected).max() <= (8 if data[0] == 0xFF else 0), data

    check()
    tally.check_coverage(COMPRESSED_FRAMES, {'bad_format', 'truncated'})


def memory(of: str) -> float:
    """A line of this process's memory status, in MiB."""
    lines = dict(line.split(':') for line in Path('/proc/self/status').read_text().splitlines())
    return int(lines[of].split()[0]) / 1024


def cost_of(action: Callable[[], object]) -> tuple[str, float, float]:
    """How it ends, milliseconds of processor time, and MiB that it takes at its peak."""
    Path('/proc/self/clear_refs').write_text('5')  # the peak starts over
    before, started = memory('VmRSS'), time.process_time()
    try:
        action()
        end = 'accepted'
    except FrameError as drop:
        end = drop.reason.value
    return end, (time.process_time() - started) * 1e3, memory('VmHWM') - before


def in_child(call: str, repo_root: Path, timeout: float = 120) -> Any:
    """The result of a function of this module in another process; a crash or a hang fails the test."""
    folders = [str(repo_root / folder) for folder in ('.', 'test/helpers', 'test/core')]
    program = (f'import faulthandler, json, sys; faulthandler.enable(); sys.path[:0] = {folders}\n'
               f'import test_hostile; print(json.dumps(test_hostile.{call}()))')
    # Large blocks come from the system each time: a block used before would hide the new allocation.
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, timeout=timeout,
                          env={**os.environ, 'MALLOC_MMAP_THRESHOLD_': '131072'})
    assert done.returncode == 0, f'child ended with {done.returncode}: {done.stderr[-2000:]}'
    return json.loads(done.stdout)


def mutants() -> int:
    """How many of 2000 damaged files are accepted."""
    rng, accepted = random.Random(11), 0
    for _ in range(2000):
        with suppress(FrameError):
            accepted += decode(Compressed(damaged(rng, rng.choice(FILES))), 40_000_000).pixels.ndim == 3
    return accepted


def test_a11_mutants_do_not_kill_the_process(repo_root: Path) -> None:
    assert 100 < in_child('mutants', repo_root) < 2000


def texts_and_profiles() -> bytes:
    """A PNG of 4 x 4 zeros with four texts and profiles that inflate to 16 MiB each."""
    packed = zlib.compressobj(9)
    body = b''.join(packed.compress(bytes(1 << 20)) for _ in range(16)) + packed.flush()
    chunks = b''.join(chunk(kind, b'name\0\0' + body) for kind in (b'zTXt', b'iCCP', b'iTXt', b'tEXt'))
    return png((4, 4), 8, 2, bytes(52), before_pixels=chunks)


SCAN = b'\xff\xda\0\x0c\3'
BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    'PNG of 20,000 x 20,000': (lambda: png((20_000, 20_000), 8, 2, bytes(1 << 20)), 'too_large'),
    'JPEG header of 65,500 x 65,500': (lambda: jpeg_header(65_500, 65_500), 'too_large'),
    'JPEG of 6000 x 6000 in few bytes': (
        lambda: jpeg_header(6000, 6000) + SCAN + bytes(900) + b'\xff\xd9', 'truncated'),
    'PNG of 8 x 8 before 2 GB': (
        lambda: png((8, 8), 8, 2, b'', packed=before_zeros(bytes(200), 2 << 30)), 'long_data'),
    'PNG of 8 x 8 before 500 MB': (
        lambda: png((8, 8), 8, 2, b'', packed=before_zeros(bytes(200), 500 << 20)), 'bad_format'),
    'PNG of 640 x 480 before 2 GB': (
        lambda: png((640, 480), 8, 2, b'', packed=before_zeros(bytes(640 * 480 * 3 + 480), 2 << 30)),
        'bad_format'),
    'JPEG with 95 MB of fill': (
        lambda: jpeg_header(6000, 6000) + SCAN + bytes(9) + b'\xff' * 95_000_000, 'bad_format'),
    'PNG with 60,000 empty chunks': (
        lambda: png((4, 4), 8, 2, bytes(52), before_pixels=chunk(b'tEXt', b'') * 60_000), 'bad_format'),
    'PNG of 6000 x 6000 with one line': (lambda: png((6000, 6000), 8, 2, bytes(18_001)), 'bad_format'),
    'PNG with texts and profiles of 64 MiB': (texts_and_profiles, 'accepted'),
}


def bomb_costs() -> dict[str, tuple[str, float, float]]:
    """The cost of each bomb, and of a known allocation."""
    costs = {'50 MiB': cost_of(lambda: np.ones(50 << 20, np.uint8))}
    for name, (bomb, _) in BOMBS.items():
        decode(Compressed(PNG), MAX_PIXELS)
        message = Compressed(bomb())
        costs[name] = cost_of(lambda message=message: decode(message, 40_000_000))
    return costs


@pytest.fixture(scope='module')
def costs(repo_root: Path) -> dict[str, tuple[str, float, float]]:
    return in_child('bomb_costs', repo_root)


@pytest.mark.parametrize('name', BOMBS)
def test_a12_a_bomb_costs_neither_time_nor_memory(name: str, costs: dict[str, Any]) -> None:
    end, milliseconds, mib = costs[name]
    assert end == BOMBS[name][1]
    assert mib < 5 < 45 < costs['50 MiB'][2], 'memory() sees what is freed again'
    # Processor time, so that a busy machine does not matter; a bomb that works takes seconds.
    assert milliseconds < 100


def test_a12_texts_and_profiles_do_not_change_the_pixels() -> None:
    plain = decode(Compressed(png((4, 4), 8, 2, bytes(52))), 100).pixels
    assert np.array_equal(decode(Compressed(texts_and_profiles()), 100).pixels, plain)


def kept_after_8k_frames() -> float:
    """MiB that five more frames of 8K leave behind, of three kinds."""
    rgb = np.broadcast_to(RGB[:, None, :, None], (24, 180, 32, 240, 3)).reshape(4320, 7680, 3)
    raw = Image(4320, 7680, 'bgr8', 7680 * 3, rgb)
    mono = Image(4320, 7680, 'mono8', 7680, rgb[..., 0].copy())
    kinds = (raw, raw, mono, mono, Compressed(cv2.imencode('.jpg', rgb)[1]))
    after = []
    for _ in range(2):
        for msg in kinds:
            assert decode(msg, 40_000_000).pixels.shape == (4320, 7680, 3)
        after.append(memory('VmRSS'))
    return after[1] - after[0]


def test_a4_memory_comes_back_after_8k_frames(repo_root: Path) -> None:
    assert in_child('kept_after_8k_frames', repo_root) < 10
