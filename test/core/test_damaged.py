# SPDX-License-Identifier: Apache-2.0
"""JPEGs that libjpeg warns about are decoded and reported as damaged, and nothing goes to stderr."""

import ctypes
import io
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from image_vectors import Compressed, filtered, png, saved, smooth_rgb
from PIL import Image as Pillow

from shufflenet_ros.core import decoder_warnings
from shufflenet_ros.core.compressed import decode_compressed
from shufflenet_ros.core.frame import DecodedImage
from shufflenet_ros.core.reasons import DropReason, FrameError

RGB = smooth_rgb(48, 64)
END = b'\xff\xd9'
WARNING = 'Corrupt JPEG data: premature end of data segment'  # libjpeg's
BASELINE = saved(RGB, 'JPEG', quality=90)
KINDS = {'baseline': BASELINE, 'full chroma': saved(RGB, 'JPEG', quality=95, subsampling=0),
         'low quality': saved(RGB, 'JPEG', quality=20),
         'restarts': saved(RGB, 'JPEG', restart_marker_blocks=2)}


def decoded(data: bytes) -> DecodedImage:
    return decode_compressed(Compressed(data), 10_000)


def entropy_start(data: bytes) -> int:
    return data.index(b'\xff\xda') + 14


def cuts(data: bytes) -> list[bytes]:
    """Cut at each byte of the entropy-coded data, the end marker put back."""
    return [data[:k] + END for k in range(entropy_start(data), len(data) - 2)]


def is_noticed(data: bytes) -> bool:
    try:
        return decoded(data).damage != ''
    except FrameError:
        return True


def say(text: str) -> None:
    """Print through C's stderr, as libraries do."""
    libc = ctypes.CDLL(None)
    libc.fputs(text.encode(), ctypes.c_void_p.in_dll(libc, 'stderr'))


@pytest.mark.parametrize('name', KINDS)
def test_a10_a_cut_is_noticed_even_with_an_end_marker(name: str) -> None:
    assert decoded(KINDS[name]).damage == ''
    assert all(map(is_noticed, cuts(KINDS[name])))


def test_a10_a_progressive_cut_is_noticed_unless_it_is_between_two_scans() -> None:
    data = saved(RGB, 'JPEG', progressive=True)
    scans = data.count(b'\xff\xda')
    missed = [cut for cut in cuts(data) if not is_noticed(cut)]
    # Up to the next scan's tables come a few segments, and a cut between them leaves whole scans too.
    assert 0 < len(missed) <= 3 * scans
    assert all(Pillow.open(io.BytesIO(cut)).load() is not None for cut in missed)


def test_damage_is_libjpegs_message() -> None:
    assert decoded(BASELINE[:-60] + END).damage == WARNING
    extra = decoded(BASELINE[:-2] + bytes(20) + END)
    assert 'extraneous bytes before marker 0xd9' in extra.damage
    assert np.array_equal(extra.pixels, decoded(BASELINE).pixels)


def test_the_next_frame_is_not_reported_as_damaged() -> None:
    for _ in range(3):
        assert decoded(BASELINE[:-60] + END).damage
        assert decoded(BASELINE).damage == ''
        assert decoded(png((64, 48), 8, 2, filtered(RGB))).damage == ''


def test_a_frame_that_cannot_be_decoded_quotes_the_decoder() -> None:
    with pytest.raises(FrameError, match='bad adaptive filter value') as caught:
        decoded(png((64, 48), 8, 2, b'\x09' + filtered(RGB)[1:]))
    assert caught.value.reason is DropReason.BAD_FORMAT


def test_nothing_reaches_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    for data in (*cuts(BASELINE)[::20], png((64, 48), 8, 2, b'\x09' + filtered(RGB)[1:])):
        is_noticed(data)
    assert capfd.readouterr().err == ''


def test_threads_get_the_warnings_of_their_own_frames() -> None:
    def damages(data: bytes) -> set[str]:
        return {decoded(data).damage for _ in range(200)}

    with ThreadPoolExecutor(4) as pool:
        good, cut, *others = pool.map(damages, (BASELINE, BASELINE[:-60] + END) * 2)
    assert good == {''} and cut == {WARNING} and others == [good, cut]


def test_stderr_is_restored_when_the_decoder_raises(capfd: pytest.CaptureFixture[str]) -> None:
    def fails() -> None:
        say('while it fails\n')
        raise ValueError('planted')

    with pytest.raises(ValueError, match='planted'):
        decoder_warnings.with_warnings(fails)
    say('afterwards\n')
    assert capfd.readouterr().err == 'while it fails\nafterwards\n'


def test_other_output_is_passed_on(capfd: pytest.CaptureFixture[str]) -> None:
    def decode() -> int:
        say('[INFO] a line of the middleware\n')
        say(f'{WARNING}\n')
        os.write(2, b'by descriptor\n')
        say('no line end, \xe4')
        return 7

    result = decoder_warnings.with_warnings(decode)
    assert result == (7, WARNING)
    assert capfd.readouterr().err == 'by descriptor\n[INFO] a line of the middleware\nno line end, \xe4'


def test_output_does_not_accumulate(capfd: pytest.CaptureFixture[str]) -> None:
    line = 'x' * 999 + '\n'
    for _ in range(30):
        decoder_warnings.with_warnings(lambda: [say(line) for _ in range(100)])
    assert capfd.readouterr().err == line * 3000
    capture = decoder_warnings._CAPTURE
    assert capture is not None and os.fstat(capture._fd).st_size < 2 << 20


PROGRAM = """
import os, sys
sys.path[:0] = [os.path.join(os.getcwd(), *path) for path in ((), ('test', 'helpers'), ('test', 'core'))]
{before}
from test_damaged import *
print(repr(decoded(BASELINE[:-60] + END).damage), decoded(BASELINE).pixels.shape)
"""


@pytest.mark.parametrize(('before', 'environment', 'damage', 'stderr'), [
    ('os.close(2)', {}, WARNING, ''),
    ('', {'SHUFFLENET_ROS_DECODER_WARNINGS': '0'}, '', WARNING),
    ('del os.memfd_create', {}, '', WARNING),
    ('def full(_): raise OSError(24, "EMFILE")\nos.memfd_create = full', {}, '', WARNING),
], ids=['stderr is closed', 'switched off', 'no such system', 'no descriptor left'])
def test_warnings_are_captured_or_printed(before: str, environment: dict[str, str], damage: str, stderr: str,
                                          repo_root: Path) -> None:
    program = PROGRAM.format(before=before)
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, cwd=repo_root,
                          env={**os.environ, **environment}, timeout=60)
    assert done.stdout == f'{damage!r} (48, 64, 3)\n'
    assert done.stderr.strip() == stderr
