# SPDX-License-Identifier: Apache-2.0
"""Recipes: the shipped ones load, errors name the field."""

from dataclasses import replace

import pytest

pytest.importorskip('torch')

from shufflenet_ros.training.recipe import Recipe, load_recipe
from shufflenet_ros.zoo.errors import ZooError

TINY = Recipe(name='tiny', px=32, epochs=6, learning_rate=0.01, warmup_epochs=0.5, early_px=32,
              early_share=0.4)


def test_rate_rises_then_falls_to_zero():
    rates = [replace(TINY, warmup_epochs=1.0).rate_at(e) for e in (0.0, 0.25, 0.5, 1.0, 2.0, 6.0)]
    assert rates[0] < rates[1] < rates[2] < rates[3] == pytest.approx(0.01)
    assert max(replace(TINY, warmup_epochs=0.001).rate_at(e / 5000) for e in range(10)) <= 0.01
    assert rates[3:] == sorted(rates[3:], reverse=True) and rates[-1] == 0
    assert [replace(TINY, epochs=5, early_px=24).px_at(e) for e in range(5)] == [24, 24, 32, 32, 32]


GOOD = 'name: x\npx: 64\nepochs: 5\n'


@pytest.mark.parametrize('text, complaint', [
    (f'{GOOD}lr: 3\n', 'lr: .*no such field; known are name, px,'),
    (f'{GOOD}turns: true\n', 'turns: .*no such field'),
    (f'{GOOD}1: 2\n', '1: .*no such field'),
    ('name: x\n', 'px: missing, but required: expected all of name, px, epochs'),
    (f'{GOOD}weight_decay: 4e-5\n', "weight_decay: got '4e-5', .*; write 4e-05 with a dot, as in 4.0e-5"),
    (f'{GOOD}epochs: 0\n', "'epochs' is in one mapping twice"),
    ('name: x\npx: 64\nepochs: 0\n', 'epochs: got 0, expected a whole number, 1 to 100000'),
    ('name: x\npx: 64.5\nepochs: 5\n', 'px: got 64.5, expected a whole number'),
    ('name: x\npx: true\nepochs: 5\n', 'px: got True'),
    (f'{GOOD}learning_rate: .nan\n', 'learning_rate: got nan'),
    (f'{GOOD}crop_scale: [0.9, 0.3]\n', 'smaller number first'),
    (f'{GOOD}crop_scale: 0.3\n', 'crop_scale: got 0.3, expected two numbers'),
    (f'{GOOD}crop_scale: ab\n', "crop_scale: got 'ab', expected two numbers"),
    (f'{GOOD}crop_scale: [0.3, true]\n', 'crop_scale: got True'),
    (f'{GOOD}early_share: 0.3\n', 'early_share: got 0.3, expected 0 without early_px'),
    (f'{GOOD}early_px: 3\n', 'early_px: got 3, expected 0 for none, or at least 16'),
    ('name: x\npx: 64\nepochs: 1\n', r'warmup_epochs: got 1.0, expected less than epochs \(1\)'),
    (f'{GOOD}frozen: fc\n', "frozen: got 'fc', expected one of"),
    (f'{GOOD}rotate90: 1\n', 'rotate90: got 1, expected true or false'),
    (f'{GOOD}teacher: 1\n', 'teacher: got 1, expected a string'),
    (f'{GOOD}network: 1\n', 'network: got 1, expected a name or fields'),
    ('name: 3\npx: 64\nepochs: 5\n', 'name: got 3, expected a string that can be a file name'),
    ('name: a/b\npx: 64\nepochs: 5\n', "name: got 'a/b', expected a string that can be a file name"),
    ('name: ..\npx: 64\nepochs: 5\n', 'can be a file name'),
    ('- 1\n', 'got .*1.*, expected an object with name, px, epochs'),
    ('', 'got nothing, expected an object'),
    ('name: [\n', 'is not valid YAML'),
])
def test_a_bad_recipe_is_rejected(tmp_path, text, complaint):
    path = tmp_path / 'r.yaml'
    path.write_text(text)
    with pytest.raises(ZooError, match=complaint) as error:
        load_recipe(str(path))
    assert str(error.value).startswith(str(path))


def test_an_unknown_recipe_lists_the_known_ones():
    with pytest.raises(ZooError, match='tiny_imagenet_x0_5_g3'):
        load_recipe('nothing')


def test_a_command_line_sets_fields(tmp_path):
    path = tmp_path / 'r.yaml'
    path.write_text(GOOD)
    recipe = load_recipe(str(path), ['epochs=7', 'crop_scale=[0.5, 1]', 'name=2024', 'network={groups: 8}'])
    assert (recipe.epochs, recipe.crop_scale, recipe.name) == (7, (0.5, 1.0), '2024')
    assert recipe.config(10).groups == 8
    for wrong, complaint in (('epochs', 'expected FIELD=VALUE'), ('epoch=7', 'epoch: .*no such field'),
                             ('epochs=many', "epochs: got 'many'"),
                             ('epochs=[', r'--set epochs=\[: is not valid')):
        with pytest.raises(ZooError, match=complaint):
            load_recipe(str(path), [wrong])
