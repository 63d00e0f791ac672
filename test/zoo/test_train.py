"""Recipe, set and trainer on a set that is learnt in seconds."""

import importlib.util
import json
import os
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip('torch')

from shufflenet_ros.bags.writer import BagWriter  # noqa: E402
from shufflenet_ros.sets.errors import SetError  # noqa: E402
from shufflenet_ros.zoo.errors import ZooError  # noqa: E402
from shufflenet_ros.zoo.normalisation import IMAGENET, normalise  # noqa: E402
from shufflenet_ros.zoo.training.augment import colour_jitter, random_crop_flip  # noqa: E402
from shufflenet_ros.zoo.training.data import load_set  # noqa: E402
from shufflenet_ros.zoo.training.recipe import RECIPES, Recipe, load_recipe  # noqa: E402
from shufflenet_ros.zoo.training.trainer import Trainer  # noqa: E402

_spec = importlib.util.spec_from_file_location('zoo_sets', Path(__file__).with_name('sets.py'))
sets = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(sets)

TINY = Recipe(
    name='tiny', network={'groups': 3, 'width': 0.25}, px=32, epochs=6, batch=8, learning_rate=0.01,
    warmup_epochs=0.5, early_px=32, early_share=0.4,
)


@pytest.fixture(scope='module')
def tiny_tar(tmp_path_factory):
    return sets.write_set(tmp_path_factory.mktemp('set') / 'tiny.tar')


def test_learns_three_colours_and_resumes_to_the_same_weights(tiny_tar, tmp_path):
    whole = Trainer(TINY, tiny_tar, tmp_path / 'whole')
    assert whole.run() >= 0.9  # chance is 0.33
    log = [json.loads(line) for line in (tmp_path / 'whole' / 'log.jsonl').read_text().splitlines()]
    assert [line['epoch'] for line in log] == [1, 2, 3, 4, 5, 6] and log[-1]['loss'] < log[0]['loss']

    first = Trainer(TINY, tiny_tar, tmp_path / 'halves')
    first._train_epoch()
    first.epoch += 1
    first._save()
    second = Trainer(TINY, tiny_tar, tmp_path / 'halves')
    assert second.epoch == 1
    second.run()
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name]), name


def test_a_checkpoint_of_another_recipe_is_refused(tiny_tar, tmp_path):
    Trainer(TINY, tiny_tar, tmp_path)._save()
    with pytest.raises(ZooError, match='made by another recipe'):
        Trainer(replace(TINY, epochs=5), tiny_tar, tmp_path)


def test_weight_decay_spares_norms_and_biases(tiny_tar, tmp_path):
    decayed, plain = Trainer(TINY, tiny_tar, tmp_path).optimizer.param_groups
    assert decayed['weight_decay'] == 4e-5 and all(p.ndim > 1 for p in decayed['params'])
    assert plain['weight_decay'] == 0 and all(p.ndim == 1 for p in plain['params'])


def test_the_set_is_read_once_and_then_from_its_cache(tiny_tar):
    first = load_set(tiny_tar, 'train', 32)
    assert first.images.shape == (72, 32, 32, 3) and first.images.dtype == np.uint8
    assert first.labels == ('blue', 'green', 'red') and sorted(set(first.targets)) == [0, 1, 2]
    for channel, target in enumerate((2, 1, 0)):  # RGB: the red pictures come last
        assert first.images[first.targets == target].mean((0, 1, 2)).argmax() == channel
    again = load_set(tiny_tar, 'train', 32)
    assert np.array_equal(first.images, again.images) and first.labels == again.labels


def test_a_folder_and_a_labelled_bag_give_the_tars_pictures_and_no_cache(tiny_tar, tmp_path, capsys):
    tar = load_set(tiny_tar, 'val', 32)
    with tarfile.open(tiny_tar) as archive:
        archive.extractall(tmp_path / 'folder', filter='data')
    files = sorted((tmp_path / 'folder' / 'val').rglob('*.png'))
    with BagWriter(tmp_path / 'bag') as bag:
        for i, file in enumerate(files):
            bag.compressed('/camera', file.read_bytes(), 'png', 10**18 + i * 10**8)
    entries = [{'topic': '/camera', 'from_s': i / 10, 'to_s': (i + 1) / 10, 'label': file.parent.name}
               for i, file in enumerate(files)]
    (tmp_path / 'bag.labels.yaml').write_text(json.dumps(entries))
    for other in (load_set(tmp_path / 'folder', 'val', 32), load_set(tmp_path / 'bag', '', 32)):
        assert np.array_equal(other.images, tar.images) and np.array_equal(other.targets, tar.targets)
        assert other.labels == tar.labels
    files[0].write_bytes(b'')
    fewer = load_set(tmp_path / 'folder', 'val', 32)
    assert np.array_equal(fewer.images, tar.images[1:]) and np.array_equal(fewer.targets, tar.targets[1:])
    assert 'val/blue/000.png left out: ' in capsys.readouterr().err
    assert not list(tmp_path.rglob('*.npz'))


def test_a_tar_that_changed_is_read_again_even_with_an_older_time(tmp_path):
    path = sets.write_set(tmp_path / 'set.tar', train=2, val=2)
    assert len(load_set(path, 'val', 32).targets) == 6
    sets.write_set(path, train=2, val=3)
    os.utime(path, (10**9, 10**9))
    assert len(load_set(path, 'val', 32).targets) == 9


def test_a_tar_without_the_split_is_refused(tiny_tar):
    with pytest.raises(SetError, match='no image under test/<class>/'):
        load_set(tiny_tar, 'test', 32)


def test_rate_rises_then_falls_to_zero():
    rates = [TINY.rate_at(e) for e in (0.0, 0.25, 0.5, 1.0, 2.0, 6.0)]
    assert rates[0] < rates[1] < rates[2] == pytest.approx(0.01)
    assert rates[2:] == sorted(rates[2:], reverse=True) and rates[-1] == 0
    assert [replace(TINY, epochs=5, early_px=24).px_at(e) for e in range(5)] == [24, 24, 32, 32, 32]


@pytest.mark.parametrize('path', sorted(RECIPES.glob('*.yaml')), ids=lambda p: p.stem)
def test_every_shipped_recipe_loads_and_says_command_time_and_result(path):
    recipe = load_recipe(path.stem)
    assert recipe.config(10).groups in (1, 2, 3, 4, 8)
    head = path.read_text()
    assert all(f'# {word}:' in head for word in ('Command', 'Time', 'Result'))


@pytest.mark.parametrize('text, complaint', [
    ('name: x\nnetwork: {}\npx: 64\nepochs: 1\nlr: 3\n', r"unknown fields \['lr'\]"),
    ('name: x\n', 'missing'),
])
def test_a_bad_recipe_is_refused(tmp_path, text, complaint):
    path = tmp_path / 'r.yaml'
    path.write_text(text)
    with pytest.raises(ZooError, match=complaint):
        load_recipe(str(path))


def test_an_unknown_recipe_names_those_there_are():
    with pytest.raises(ZooError, match='tiny_imagenet_x0_5_g3'):
        load_recipe('nothing')


def test_normalise_is_imagenets():
    batch = torch.full((1, 2, 2, 3), 128, dtype=torch.uint8)
    assert normalise(batch)[0, :, 0, 0].tolist() == pytest.approx(
        [(128 / 255 - m) / s for m, s in zip(IMAGENET.mean, IMAGENET.std)], abs=1e-5)


def test_a_full_crop_is_the_picture_or_its_mirror():
    # Clamped to the picture, a crop of several times its area is the whole picture.
    x = torch.randn(64, 3, 24, 24)
    generator = torch.Generator().manual_seed(0)
    crops = random_crop_flip(x, 24, (4.0, 4.0), generator)
    plain = (crops - x).abs().amax((1, 2, 3)) < 1e-4
    mirrored = (crops - x.flip(3)).abs().amax((1, 2, 3)) < 1e-4
    assert (plain ^ mirrored).all() and 10 < int(mirrored.sum()) < 54
    constant = torch.ones(4, 3, 24, 24)
    assert torch.allclose(random_crop_flip(constant, 16, (0.3, 1.0), generator), torch.ones(4, 3, 16, 16))


def test_jitter_keeps_the_picture_and_its_range():
    x = torch.randn(8, 3, 16, 16)
    assert torch.equal(colour_jitter(x, 0.0), x) or torch.allclose(colour_jitter(x, 0.0), x, atol=1e-6)
    gains = colour_jitter(x, 0.2).std((1, 2, 3)) / x.std((1, 2, 3))
    assert ((gains > 0.75) & (gains < 1.25)).all() and gains.std() > 0
