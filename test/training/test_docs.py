# SPDX-License-Identifier: Apache-2.0
"""The commands, options, recipes and fields in docs/training.md and in recipes exist."""

import argparse
import importlib
import re
import shlex

import pytest

pytest.importorskip('torch')

from shufflenet_ros.cli.main import VERBS
from shufflenet_ros.training.recipe import RECIPES, load_recipe


def commands(text):
    """Every `shufflenet-ros ...` of a text, a comment's continuation lines joined."""
    joined = re.sub(r'\n# {5,}(?=--)', ' ', text)
    lines = re.findall(r'(?:^|Command: +)(shufflenet-ros [^\n`#]+)$', joined, re.M)
    return [shlex.split(line) for line in lines]


def parse(words):
    verb, rest = (' '.join(words[1:3]), words[3:]) if ' '.join(words[1:3]) in VERBS else (words[1], words[2:])
    parser = argparse.ArgumentParser(exit_on_error=False)
    importlib.import_module(VERBS[verb][0]).add_arguments(parser)
    return parser.parse_args(rest)


@pytest.fixture(scope='module')
def page(request):
    return (request.config.rootpath / 'docs' / 'training.md').read_text()


def test_every_command_of_the_page_can_be_given(page):
    found = commands(page)
    assert len(found) >= 5 and {words[1] for words in found} >= {'train', 'export', 'evaluate'}
    for words in found:
        args = parse(words)
        if words[1] == 'train':
            load_recipe(args.recipe, args.overrides)


@pytest.mark.parametrize('path', sorted(RECIPES.glob('*.yaml')), ids=lambda path: path.stem)
def test_every_shipped_recipe_loads_and_states_paper_command_time_and_result(path, page):
    recipe, text = load_recipe(path.stem), path.read_text()
    assert recipe.config(10).classes == 10 if recipe.network else '--init' in text
    assert all(f'# {word}:' in text for word in ('Paper', 'Command', 'Time', 'Result'))
    assert f'`{path.stem}`' in page, 'docs/training.md lists every recipe'
    if 'python -m benchmarks' not in text:
        (words,) = commands(text)
        args = parse(words)
        assert args.recipe == path.stem
        load_recipe(args.recipe, args.overrides)


def test_fields_that_the_page_sets_exist(page):
    for setting in re.findall(r'`(\w+=[\w.]+)`', page):
        load_recipe('finetune', [setting])
