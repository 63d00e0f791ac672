"""Recipes: what is shipped loads, what cannot be used is refused by name."""

from dataclasses import replace

import pytest

pytest.importorskip('torch')

from shufflenet_ros.training.recipe import RECIPES, Recipe, load_recipe
from shufflenet_ros.zoo.errors import ZooError

TINY = Recipe(name='tiny', px=32, epochs=6, learning_rate=0.01, warmup_epochs=0.5, early_px=32,
              early_share=0.4)


def test_rate_rises_then_falls_to_zero():
    rates = [replace(TINY, warmup_epochs=1.0).rate_at(e) for e in (0.0, 0.25, 0.5, 1.0, 2.0, 6.0)]
    assert rates[0] < rates[1] < rates[2] < rates[3] == pytest.approx(0.01)
    assert max(replace(TINY, warmup_epochs=0.001).rate_at(e / 5000) for e in range(10)) <= 0.01
    assert rates[3:] == sorted(rates[3:], reverse=True) and rates[-1] == 0
    assert [replace(TINY, epochs=5, early_px=24).px_at(e) for e in range(5)] == [24, 24, 32, 32, 32]


@pytest.mark.parametrize('path', sorted(RECIPES.glob('*.yaml')), ids=lambda p: p.stem)
def test_every_shipped_recipe_loads_and_says_paper_command_time_and_result(path):
    recipe = load_recipe(path.stem)
    if recipe.network:
        assert recipe.config(10).classes == 10
    head = path.read_text()
    assert all(f'# {word}:' in head for word in ('Paper', 'Command', 'Time', 'Result'))
    assert f'--recipe {path.stem} ' in head or 'python -m benchmarks' in head


@pytest.mark.parametrize('text, complaint', [
    ('name: x\npx: 64\nepochs: 1\nlr: 3\n', r"unknown fields \['lr'\]"),
    ('name: x\n', r"\['px', 'epochs'\] missing"),
    ('name: x\npx: 64\nepochs: 5\nweight_decay: 4e-5\n', r"weight_decay is '4e-5'.*write 4e-05 with a dot"),
    ('name: x\npx: 64\nepochs: 0\n', 'epochs is 0; expected a whole number from 1'),
    ('name: x\npx: 64.5\nepochs: 5\n', 'px is 64.5; expected a whole number'),
    ('name: x\npx: true\nepochs: 5\n', 'px is True'),
    ('name: x\npx: 64\nepochs: 5\nlearning_rate: .nan\n', 'learning_rate is nan'),
    ('name: x\npx: 64\nepochs: 5\ncrop_scale: [0.9, 0.3]\n', 'smaller number first'),
    ('name: x\npx: 64\nepochs: 5\ncrop_scale: 0.3\n', 'expected two numbers'),
    ('name: x\npx: 64\nepochs: 5\nearly_share: 0.3\n', 'without early_px'),
    ('name: x\npx: 64\nepochs: 1\n', 'expected less than epochs'),
    ('name: x\npx: 64\nepochs: 5\nfrozen: fc\n', "frozen is 'fc'; expected one of"),
    ('name: 3\npx: 64\nepochs: 5\n', 'name is 3; expected a text'),
    ('name: x\npx: 64\nepochs: 5\nturns: 1\n', 'turns is 1; expected true or false'),
    ('name: a/b\npx: 64\nepochs: 5\n', "name is 'a/b'; expected a text that can be the name of a file"),
    ('name: ..\npx: 64\nepochs: 5\n', 'can be the name of a file'),
    ('name: x\npx: 64\nepochs: 5\nearly_px: 3\n', 'early_px is 3; expected 0 for none, or at least 16'),
    ('name: x\npx: 64\nepochs: 5\n1: 2\nlr: 3\n', r"unknown fields \['1', 'lr'\]"),
    ('- 1\n', 'holds list'),
    ('name: [\n', 'no YAML that can be read'),
    ('px: 64\npx: 96\n', "'px' is in one mapping twice"),
])
def test_a_bad_recipe_is_refused(tmp_path, text, complaint):
    path = tmp_path / 'r.yaml'
    path.write_text(text)
    with pytest.raises(ZooError, match=complaint):
        load_recipe(str(path))


def test_an_unknown_recipe_names_those_there_are():
    with pytest.raises(ZooError, match='tiny_imagenet_x0_5_g3'):
        load_recipe('nothing')


def test_a_command_line_sets_fields(tmp_path):
    path = tmp_path / 'r.yaml'
    path.write_text('name: x\npx: 64\nepochs: 5\n')
    recipe = load_recipe(str(path), ['epochs=7', 'crop_scale=[0.5, 1]', 'name=2024', 'network={groups: 8}'])
    assert (recipe.epochs, recipe.crop_scale, recipe.name) == (7, (0.5, 1.0), '2024')
    assert recipe.config(10).groups == 8
    for wrong, complaint in (('epochs', 'expected FIELD=VALUE'), ('epoch=7', 'unknown fields'),
                             ('epochs=many', "epochs is 'many'"), ('epochs=[', r'--set epochs=\[: no YAML')):
        with pytest.raises(ZooError, match=complaint):
            load_recipe(str(path), [wrong])
