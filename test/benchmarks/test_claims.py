# SPDX-License-Identifier: Apache-2.0
"""The page of the claims is generated from the runs, the rule is as stated, and the driver resumes."""

import json

import pytest
from training_set import write_set

from benchmarks import claims_report
from benchmarks.claims_report import (
    BEGIN,
    END,
    GROUPS,
    NOT_REPRODUCED,
    OPPOSITE,
    REPRODUCED,
    SHUFFLE,
    UNDECIDED,
    evaluate,
    tables,
    verdict,
)

RECIPE = """
name: claims
network: {width: 0.25, repeats: [1, 1, 1], stem_pool: false}
px: 16
epochs: 1
batch: 24
learning_rate: 0.05
warmup_epochs: 0.3
"""


@pytest.mark.parametrize(('gains', 'expected'), [
    ((2.0, 2.4, 1.6), REPRODUCED),  # mean 2.0, standard error 0.23
    ((0.5, 0.5, 0.5), REPRODUCED),
    ((3.0, 0.0, 0.0), NOT_REPRODUCED),  # mean 1.0 = its standard error
    ((2.0, 0.0, 1.0), NOT_REPRODUCED),  # mean 1.0, standard error 0.577
    ((0.0, 0.0, 0.0), NOT_REPRODUCED),
    ((-2.0, -2.4, -1.6), OPPOSITE),
    ((5.0,), UNDECIDED),
    ((), UNDECIDED),
])
def test_the_rule(gains, expected):
    assert verdict(gains) == expected


def test_gains_are_paired_by_seed_whatever_the_order_of_the_runs():
    errors = {'g1': (50.0, 51.0), 'g3': (48.0, 48.6), 'g8': (49.0, 47.0),
              'g3_noshuffle': (47.0, 47.4), 'g8_noshuffle': (52.0, 50.5)}
    report = {'networks': {name: {'paper_error': 55.0} for name in errors},
              'runs': [{'network': name, 'seed': seed, 'accuracy': 100 - pair[seed]}
                       for name, pair in errors.items() for seed in (1, 0)]}
    result = evaluate(GROUPS[0], report)
    assert result.gains == (2.0, 2.4)
    assert result.mean == pytest.approx(2.2) and result.paper == 0
    assert result.sd == pytest.approx(0.2 * 2**0.5) and result.error == pytest.approx(0.2)
    assert [evaluate(claim, report).verdict for claim in GROUPS + SHUFFLE] == [
        REPRODUCED, NOT_REPRODUCED, NOT_REPRODUCED, OPPOSITE, REPRODUCED]
    report['runs'].pop(0)
    with pytest.raises(ValueError, match='zip'):  # a network that misses a round
        evaluate(GROUPS[0], report)


def test_the_page_and_the_plot_are_generated_from_the_runs(repo_root):
    docs = repo_root / 'docs'
    report = json.loads((docs / 'claims.json').read_text())
    page, plot = (docs / 'claims.md').read_text(), (docs / 'claims.svg').read_text()
    assert page.partition(BEGIN)[2].partition(END)[0].strip('\n') == tables(report)
    for claim in GROUPS + SHUFFLE:
        mean = f'{evaluate(claim, report).mean:+.2f}'
        assert claim.text in plot
        assert f'>{mean}<' in plot or f'>{mean}<'.replace('-', '\N{MINUS SIGN}') in plot


def test_the_papers_errors_are_those_of_the_same_networks(repo_root):
    networks = json.loads((repo_root / 'docs' / 'claims.json').read_text())['networks']
    errors = {name: network['paper_error'] for name, network in networks.items()}
    assert errors == {'g1': 57.1, 'g3': 55.0, 'g8': 52.7, 'g3_noshuffle': 56.3, 'g8_noshuffle': 56.5}
    macs = [network['macs'] for network in networks.values()]
    assert max(macs) < 1.1 * min(macs)


def test_the_driver_trains_each_network_with_each_seed_and_nothing_twice(tmp_path, monkeypatch):
    pytest.importorskip('torch')
    pytest.importorskip('lightning_fabric')
    from benchmarks import claims
    from shufflenet_ros.training.recipe import load_recipe
    from shufflenet_ros.zoo.errors import ZooError
    docs, runs, recipe = tmp_path / 'docs', tmp_path / 'runs', tmp_path / 'small.yaml'
    docs.mkdir()
    (docs / 'claims.md').write_text(f'before\n{BEGIN}\nold\n{END}\nafter\n')
    recipe.write_text(RECIPE)
    data = write_set(tmp_path / 'tiny.tar', train=8, val=4)  # a batch per run
    command = ['--data', str(data), '--recipe', str(recipe), '--out', str(runs), '--docs', str(docs)]
    trained, rounds, trainer, write = [], [], claims.Trainer, claims_report.write_report
    monkeypatch.setattr(claims, 'Trainer', lambda recipe, *rest: trained.append(recipe)
                        or trainer(recipe, *rest))
    monkeypatch.setattr(claims, 'write_report', lambda report, to: rounds.append(
        [run['network'] for run in report['runs']]) or write(report, to))
    assert claims.main([*command, '--seeds', '1']) == 0
    assert claims.main([*command, '--seeds', '2']) == 0

    names = list(claims.COMPARED)
    assert [recipe.seed for recipe in trained] == [0] * 5 + [1] * 5
    assert [recipe.name for recipe in trained[:5]] == [f'claims-{name}-seed0' for name in names]
    assert [recipe.network.get('shuffle', True) for recipe in trained[:5]] == [True, True, True, False, False]
    assert [recipe.network['groups'] for recipe in trained[:5]] == [1, 3, 8, 3, 8]
    assert rounds == [names, names, names * 2]

    report = json.loads((docs / 'claims.json').read_text())
    logs = [json.loads((runs / f'{run["network"]}-seed{run["seed"]}' / 'log.jsonl').read_text())
            for run in report['runs']]
    assert [run['accuracy'] for run in report['runs']] == [round(100 * log['val_top1'], 2) for log in logs]
    page = (docs / 'claims.md').read_text()
    assert page == f'before\n{BEGIN}\n{tables(report)}\n{END}\nafter\n'
    assert page.count('10 of 10 runs are finished') == 1
    assert (docs / 'claims.svg').read_text().startswith('<?xml')

    other = claims.recipe_of(load_recipe(str(recipe)), 'g8', 1)
    with pytest.raises(ZooError, match='another recipe: choose another --out'):
        claims.train(other, (), runs / 'g3-seed0')
