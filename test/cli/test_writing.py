# SPDX-License-Identifier: Apache-2.0
"""Every file that a verb writes is whole or absent, and the exit status says which."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from shufflenet_ros.bundles.bundle import open_bundle
from shufflenet_ros.cli import main as cli
from shufflenet_ros.cli.annotated_video import AnnotatedVideo
from shufflenet_ros.core.files import WriteError
from shufflenet_ros.core.frame import DecodedImage

Classify = Callable[..., Any]


@contextmanager
def full_above(size: int) -> Iterator[None]:
    """No file of this process grows above size bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twelve noisy images, of which a video takes some 400 kB."""
    folder = tmp_path / 'photos'
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(12):
        cv2.imwrite(str(folder / f'{i:02}.png'), rng.integers(0, 256, (48, 64, 3), np.uint8))
    return folder


def frames_in(video: Path) -> int:
    capture = cv2.VideoCapture(str(video))
    return sum(1 for _ in iter(lambda: capture.read()[0], False))


@pytest.mark.parametrize(('size', 'before'), [(5_000, True), (20_000, False), (150_000, True)])
def test_a_video_on_a_full_disk_is_absent_and_the_status_is_1(
        classify: Classify, tiny: Path, photos: Path, size: int, before: bool) -> None:
    out = photos.parent / 'out.mp4'
    if before:
        out.write_bytes(b'old')
    with full_above(size):
        ran = classify(photos, '--model', tiny, '--json', '--annotate', out)
    assert ran.status == 1
    assert f'error: video {out} cannot be written: ' in ran.err.splitlines()[-1]
    assert 'no space left' in ran.err and 'free some space there, or choose another path' in ran.err
    assert (out.read_bytes() == b'old') if before else not out.exists()
    assert not list(photos.parent.glob('.draft*'))
    assert classify(photos, '--model', tiny, '--json', '--annotate', out).status == 0
    assert frames_in(out) == 12


def test_an_error_in_between_leaves_no_video(tmp_path: Path) -> None:
    with pytest.raises(KeyError), AnnotatedVideo(tmp_path / 'out.mp4', 2.0) as video:
        video.add(DecodedImage(np.zeros((48, 64, 3), np.uint8), 'bgr'), ())
        raise KeyError
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('name', ['out.avi', 'out', 'no/out.mp4'])
def test_a_target_that_is_not_a_video_is_rejected_before_a_model_is_loaded(
        classify: Classify, photos: Path, name: str) -> None:
    ran = classify(photos, '--model', 'none-such', '--annotate', photos.parent / name)
    assert ran.status == 2 and f'{name} cannot be written: expected a name that ends in .mp4' in ran.err


def test_a_link_to_a_device_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / 'out.mp4').symlink_to('/dev/null')
    with pytest.raises(WriteError, match='got a character device'), \
            AnnotatedVideo(tmp_path / 'out.mp4', 2.0) as video:
        video.add(DecodedImage(np.zeros((48, 64, 3), np.uint8), 'bgr'), ())
    assert Path('/dev/null').is_char_device()


def labeled(folder: Path) -> Path:
    for name, bgr in (('red', (0, 0, 255)), ('green', (0, 255, 0))):
        (folder / name).mkdir(parents=True)
        cv2.imwrite(str(folder / name / 'a.png'), np.full((48, 64, 3), bgr, np.uint8))
    return folder


@pytest.mark.parametrize('verb', ['add-card', 'confusion'])
def test_other_verbs_on_a_full_disk_leave_nothing_and_return_1(
        tiny: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], verb: str) -> None:
    card, data, made = tmp_path / 'card.json', labeled(tmp_path / 'set'), tmp_path / 'made'
    card.write_text(open_bundle(str(tiny)).card.to_json())
    made.mkdir()
    arguments = {
        'add-card': ['models', 'add-card', tiny, '--card', card, '-o', made / 'out.onnx'],
        'confusion': ['evaluate', data, '--model', tiny, '--confusion', made / 'out.png'],
    }[verb]
    with full_above(700):
        status = cli.main([*map(str, arguments)])
    err = capfd.readouterr().err
    assert (status, list(made.iterdir())) == (1, []), err
    assert f'{made}/out.' in err.splitlines()[-1]
    assert 'cannot be written: File too large; ' in err.splitlines()[-1]
    assert cli.main([*map(str, arguments)]) == 0 and len(list(made.iterdir())) == 1
