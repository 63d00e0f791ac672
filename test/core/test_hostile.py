# SPDX-License-Identifier: Apache-2.0
"""Rows A11 and A12 of the fault list, and 20,000 hostile frames: none escapes, none is wrongly accepted."""

from __future__ import annotations

import io
import random
import subprocess
import sys
import time
import warnings
from collections import Counter
from pathlib import Path

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
    data_rows,
    encode,
    exif_with_thumbnail,
    filtered,
    png,
    random_image,
    saved,
    slow_decode,
    smooth_rgb,
)
from PIL import Image as Pillow

from shufflenet_ros.core.decode import decode
from shufflenet_ros.core.reasons import DropReason, FrameError

RAW_FRAMES, COMPRESSED_FRAMES = 15_000, 5_000
FRAMES_A_SEED = 20  # hypothesis draws the seed alone: drawing each field takes it longer than the decoder
MAX_PIXELS = 4096
RGB = smooth_rgb(24, 32)
# What a decoder makes of a damaged JPEG is its own guess. libjpeg-turbo 3, which Pillow and OpenCV since 4.10
# bring, guesses otherwise than 2.1 in OpenCV 4.5 and 4.6: there the pixels are not compared.
GUESSES_ALIKE = tuple(map(int, cv2.__version__.split('.')[:2])) >= (4, 10)


JPEG = saved(RGB, 'JPEG')
FILES = [
    JPEG, saved(RGB, 'JPEG', progressive=True), saved(RGB, 'JPEG', restart_marker_blocks=1),
    saved(RGB, 'JPEG', quality=95, subsampling=0),
    b'\xff\xd8' + exif_with_thumbnail(6, saved(RGB, 'JPEG', quality=10)) + JPEG[2:],
    png((32, 24), 8, 2, filtered(RGB)), png((32, 24), 8, 2, adam7(RGB), interlace=1),
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
    """Counts how frames ended, and that the next good one is as it always was."""

    def __init__(self) -> None:
        self.ends: Counter[str] = Counter()

    def answer(self, msg: object) -> np.ndarray | None:
        """The frame's RGB pixels or None; whatever is raised besides FrameError fails the test."""
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


def near(rng: random.Random, value: int) -> int:
    """Mostly the value, sometimes a little beside it, seldom anything."""
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


def test_hostile_raw_frames(capsys: pytest.CaptureFixture[str]) -> None:
    tally, started = Tally(), time.perf_counter()

    @examples(RAW_FRAMES // FRAMES_A_SEED)
    @given(st.integers(0, 2**64 - 1))
    def check(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(FRAMES_A_SEED):
            msg = raw_frame(rng)
            got, expected = tally.answer(msg), slow_decode(msg, MAX_PIXELS)
            assert (got is None) == (expected is None), msg
            if got is not None and expected is not None:
                assert got.shape == expected.shape, msg
                assert np.abs(got.astype(int) - expected).max() <= TOLERANCE[msg.encoding], msg

    check()
    report(capsys, 'raw', tally, RAW_FRAMES, time.perf_counter() - started)
    assert set(tally.ends) >= {'accepted', 'bad_encoding', 'bad_size', 'too_large', 'too_small', 'bad_step',
                               'short_data', 'long_data'}


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


def test_hostile_compressed_frames(capsys: pytest.CaptureFixture[str]) -> None:
    tally, started = Tally(), time.perf_counter()

    @examples(COMPRESSED_FRAMES // FRAMES_A_SEED)
    @given(st.integers(0, 2**64 - 1))
    def check(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(FRAMES_A_SEED):
            data = damaged(rng, rng.choice(FILES))
            got = tally.answer(Compressed(data))
            if got is not None:
                with warnings.catch_warnings():
                    warnings.simplefilter('ignore')  # Pillow's, about metadata that we do not read
                    expected = np.asarray(Pillow.open(io.BytesIO(data)).convert('RGB'))
                assert got.shape == expected.shape, data
                if data[0] == 0xFF and not GUESSES_ALIKE:
                    continue
                assert np.abs(got.astype(int) - expected).max() <= (8 if data[0] == 0xFF else 0), data

    check()
    report(capsys, 'compressed', tally, COMPRESSED_FRAMES, time.perf_counter() - started)
    assert set(tally.ends) >= {'accepted', DropReason.BAD_FORMAT, DropReason.TRUNCATED}


def report(capsys: pytest.CaptureFixture[str], what: str, tally: Tally, wanted: int, seconds: float) -> None:
    ends = {str(end): n for end, n in tally.ends.most_common()}
    with capsys.disabled():
        print(f'\nhostile {what} frames: {tally.ends.total()} in {seconds:.1f} s: {ends}', end=' ')
    assert tally.ends.total() >= wanted
    # The generator must reach both sides, or the test shows nothing.
    assert tally.ends['accepted'] >= wanted // 20


CHILD = """
import faulthandler, os, sys, time
faulthandler.enable()
sys.path[:0] = [os.path.join(os.getcwd(), *path) for path in ((), ('test', 'helpers'), ('test', 'core'))]
import numpy as np
from image_vectors import *
from shufflenet_ros.core.compressed import decode_compressed
from shufflenet_ros.core.image import decode_image
from shufflenet_ros.core.reasons import FrameError
def memory(of):
    lines = dict(line.split(':') for line in open('/proc/self/status'))
    return int(lines[of].split()[0]) / 1024
def forget_peak():
    open('/proc/self/clear_refs', 'w').write('5')
    return memory('VmRSS')
"""


def in_child(program: str, repo_root: Path, timeout: float = 120) -> str:
    """The program's output; a death by a signal or a hang fails the test."""
    done = subprocess.run([sys.executable, '-c', CHILD + program], capture_output=True, text=True,
                          cwd=repo_root, timeout=timeout)
    assert done.returncode == 0, f'child ended with {done.returncode}: {done.stderr[-2000:]}'
    return done.stdout.strip()


def test_a11_mutants_do_not_kill_the_process(repo_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = in_child("""
import random
from test_hostile import FILES, damaged
rng = random.Random(11)
worst = accepted = 0
for _ in range(2000):
    msg = Compressed(damaged(rng, rng.choice(FILES)))
    started = time.perf_counter()
    try:
        accepted += np.isfinite(decode_compressed(msg, 40_000_000).pixels).all()
    except FrameError:
        pass
    worst = max(worst, time.perf_counter() - started)
print(f'2000 mutants, {accepted} accepted, slowest {worst * 1e3:.1f} ms')
""", repo_root)
    with capsys.disabled():
        print(f'\nA11: {output}', end=' ')
    assert output.startswith('2000 mutants')


REFUSED_BOMBS = {
    'PNG of 20,000 x 20,000': ('png((20_000, 20_000), 8, 2, bytes(1 << 20))', DropReason.TOO_LARGE),
    'JPEG header of 65,500 x 65,500': ('jpeg_header(65_500, 65_500)', DropReason.TOO_LARGE),
    'JPEG of 6000 x 6000 in few bytes': (
        'jpeg_header(6000, 6000) + b"\\xff\\xda\\0\\x0c\\3" + bytes(900) + b"\\xff\\xd9"',
        DropReason.TRUNCATED),
    'PNG of 8 x 8 before 2 GB': ('png((8, 8), 8, 2, b"", packed=before_zeros(bytes(200), 2 << 30))',
                                 DropReason.LONG_DATA),
    'PNG of 8 x 8 before 500 MB': ('png((8, 8), 8, 2, b"", packed=before_zeros(bytes(200), 500 << 20))',
                                   DropReason.BAD_FORMAT),
    'PNG of 640 x 480 before 2 GB': (
        'png((640, 480), 8, 2, b"", packed=before_zeros(bytes(640 * 480 * 3 + 480), 2 << 30))',
        DropReason.BAD_FORMAT),
    'JPEG with 95 MB of fill': (
        'jpeg_header(6000, 6000) + b"\\xff\\xda\\0\\x0c\\3" + bytes(9) + b"\\xff" * 95_000_000',
        DropReason.BAD_FORMAT),
    'PNG with 60,000 empty chunks': (
        'png((4, 4), 8, 2, bytes(52), before_pixels=chunk(b"tEXt", b"") * 60_000)', DropReason.BAD_FORMAT),
    'PNG of 6000 x 6000 with one line': ('png((6000, 6000), 8, 2, bytes(18_001))', DropReason.BAD_FORMAT),
}


@pytest.mark.parametrize('name', REFUSED_BOMBS)
def test_a12_bombs_are_rejected_by_their_header(
        name: str, repo_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bomb, reason = REFUSED_BOMBS[name]
    output = in_child(f"""
bomb = {bomb}
decode_compressed(Compressed(png((4, 4), 8, 2, bytes(52))), 100)
before, started = forget_peak(), time.process_time()
try:
    decode_compressed(Compressed(bomb), 40_000_000)
except FrameError as drop:
    elapsed = time.process_time() - started
    print(drop.reason, f'{{elapsed * 1e3:.2f}} ms', round(memory('VmHWM') - before, 1), 'MiB')
""", repo_root)
    with capsys.disabled():
        print(f'\nA12: {name}: {output}', end=' ')
    assert output.split()[0] == reason
    assert float(output.split()[-2]) < 5
    # Processor time, so that a busy machine troubles nobody; what was wrong took seconds.
    assert float(output.split()[1]) < 100


def test_a12_texts_and_profiles_are_never_inflated(
        repo_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = in_child("""
small = png((4, 4), 8, 2, bytes(52))
packed = zlib.compressobj(9)
body = b''.join(packed.compress(bytes(1 << 20)) for _ in range(16)) + packed.flush()
chunks = b''.join(chunk(kind, b'name\\0\\0' + body) for kind in (b'zTXt', b'iCCP', b'iTXt', b'tEXt'))
bomb = png((4, 4), 8, 2, bytes(52), before_pixels=chunks)
expected = decode_compressed(Compressed(small), 100).pixels
before, started = forget_peak(), time.perf_counter()
pixels = decode_compressed(Compressed(bomb), 100).pixels
elapsed = time.perf_counter() - started
print((pixels == expected).all(), f'{elapsed * 1e3:.2f} ms', round(memory('VmHWM') - before, 1), 'MiB')
""", repo_root)
    with capsys.disabled():
        print(f'\nA12: texts and profiles of 4 x 16 MiB in a 4 x 4 PNG: {output}', end=' ')
    assert output.split()[0] == 'True' and float(output.split()[-2]) < 5


def test_the_memory_gauge_sees_what_comes_and_goes(repo_root: Path) -> None:
    output = in_child("""
before = forget_peak()
del (gone := [np.ones(50 << 20, np.uint8)])[0]
print(memory('VmHWM') - before, memory('VmRSS') - before)
""", repo_root)
    peak, kept = map(float, output.split())
    assert peak > 45 and kept < 5


def test_a4_memory_comes_back_after_8k_frames(repo_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = in_child("""
import cv2
rgb = np.broadcast_to(smooth_rgb(540, 960)[:, None, :, None], (540, 8, 960, 8, 3)).reshape(4320, 7680, 3)
file = cv2.imencode('.jpg', rgb)[1]
raw = Image(4320, 7680, 'bgr8', 7680 * 3, rgb)
mono = Image(4320, 7680, 'mono8', 7680, rgb[..., 0].copy())
def all_kinds():
    for msg in (raw, raw, mono, mono):
        assert decode_image(msg, 40_000_000).pixels.shape == (4320, 7680, 3)
    started = time.perf_counter()
    assert decode_compressed(Compressed(file), 40_000_000).pixels.shape == (4320, 7680, 3)
    return time.perf_counter() - started
all_kinds()
before = memory('VmRSS')
seconds = [all_kinds() for _ in range(4)]
kept = round(memory('VmRSS') - before, 1)
print(f'20 8K frames, a JPEG takes {np.median(seconds):.2f} s, memory kept', kept, 'MiB')
""", repo_root)
    with capsys.disabled():
        print(f'\nA4: {output}', end=' ')
    assert float(output.split()[-2]) < 10


def test_good_frames_are_what_the_test_believes() -> None:
    assert random_image('bgr8', 2, 2).data.nbytes == 12
    assert all(pixels.shape == (24, 32, 3) for pixels in EXPECTED)
