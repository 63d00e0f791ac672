# SPDX-License-Identifier: Apache-2.0
"""Every file that a verb writes is whole or absent, and the exit status says which."""

from __future__ import annotations

import resource
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
from labeled_datasets import encoded, write_folder

from shufflenet_ros.bundles.bundle import open_bundle
from shufflenet_ros.cli.annotated_video import AnnotatedVideo
from shufflenet_ros.core.files import WriteError
from shufflenet_ros.core.frame import DecodedImage


@contextmanager
def full_above(size: int):
    """No file of this process grows above size bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.fixture
def photos(tmp_path) -> Path:
    """Twelve noisy images, about 400 kB as a video."""
    noise = np.random.default_rng(0).integers(0, 256, (12, 48, 64, 3), np.uint8)
    return write_folder(tmp_path / 'photos', {f'{i:02}.png': cv2.imencode('.png', pixels)[1].tobytes()
                                              for i, pixels in enumerate(noise)})


def frames_in(video: Path) -> int:
    capture = cv2.VideoCapture(str(video))
    return sum(1 for _ in iter(lambda: capture.read()[0], False))


@pytest.mark.parametrize(('size', 'before'), [(5_000, True), (20_000, False), (150_000, True)])
def test_a_video_on_a_full_disk_is_absent_and_the_status_is_1(classify, tiny, photos, size, before):
    out = photos.parent / 'out.mp4'
    if before:
        out.write_bytes(b'old')
    with full_above(size):
        ran = classify(photos, '--model', tiny, '--json', '--annotate', out, status=1)
    assert f'error: video {out} cannot be written: ' in ran.err.splitlines()[-1]
    assert 'no space left' in ran.err and 'free some space there, or choose another path' in ran.err
    assert (out.read_bytes() == b'old') if before else not out.exists()
    assert not list(photos.parent.glob('.draft*'))
    classify(photos, '--model', tiny, '--json', '--annotate', out)
    assert frames_in(out) == 12


def test_a_bag_for_foxglove_on_a_full_disk_is_absent_and_the_status_is_1(classify, tiny, photos):
    out = photos.parent / 'out.mcap'
    with full_above(20_000):
        ran = classify(photos, '--model', tiny, '--json', '--annotate', out, status=1)
    assert f'error: {out} cannot be written: File too large; raise the limit' in ran.err.splitlines()[-1]
    assert [path.name for path in photos.parent.iterdir()] == ['photos']


def test_an_error_in_between_leaves_no_video(tmp_path):
    with pytest.raises(KeyError), AnnotatedVideo(tmp_path / 'out.mp4', 2.0) as video:
        video.add(DecodedImage(np.zeros((48, 64, 3), np.uint8), 'bgr'), ())
        raise KeyError
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('name', ['out.avi', 'out', 'no/out.mp4', 'no/out.mcap'])
def test_a_target_that_is_not_a_video_is_rejected_before_a_model_is_loaded(classify, photos, name):
    ran = classify(photos, '--model', 'none-such', '--annotate', photos.parent / name, status=2)
    assert f'{name} cannot be written: expected a name that ends in .mp4 (video) or .mcap' in ran.err


def test_a_link_to_a_device_is_not_replaced(tmp_path):
    (tmp_path / 'out.mp4').symlink_to('/dev/null')
    with pytest.raises(WriteError, match='got a character device'), \
            AnnotatedVideo(tmp_path / 'out.mp4', 2.0) as video:
        video.add(DecodedImage(np.zeros((48, 64, 3), np.uint8), 'bgr'), ())
    assert Path('/dev/null').is_char_device()


@pytest.mark.parametrize('verb', ['add-card', 'confusion'])
def test_other_verbs_on_a_full_disk_leave_nothing_and_return_1(shufflenet, tiny, tmp_path, verb):
    data = write_folder(tmp_path / 'set', {f'{name}/a.png': encoded(name) for name in ('red', 'green')})
    card, made = tmp_path / 'card.json', tmp_path / 'made'
    card.write_text(open_bundle(str(tiny)).card.to_json())
    made.mkdir()
    arguments = {
        'add-card': ['models', 'add-card', tiny, '--card', card, '-o', made / 'out.onnx'],
        'confusion': ['evaluate', data, '--model', tiny, '--confusion', made / 'out.png'],
    }[verb]
    with full_above(700):
        last = shufflenet(*arguments, status=1).err.splitlines()[-1]
    assert not list(made.iterdir())
    assert f'{made}/out.' in last and 'cannot be written: File too large; ' in last
    shufflenet(*arguments)
    assert len(list(made.iterdir())) == 1
