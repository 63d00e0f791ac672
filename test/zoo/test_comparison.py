# SPDX-License-Identifier: Apache-2.0
"""The comparison networks: as expensive as ShuffleNet, as wide as in the paper, and trainable."""

import pytest
from training_set import write_set

torch = pytest.importorskip('torch')
pytest.importorskip('onnx')

from shufflenet_ros.backends.load import load  # noqa: E402
from shufflenet_ros.training.data import load_datasets  # noqa: E402
from shufflenet_ros.training.recipe import Recipe  # noqa: E402
from shufflenet_ros.training.trainer import Trainer  # noqa: E402
from shufflenet_ros.zoo.comparison import (  # noqa: E402
    CARDINALITY,
    Bottleneck,
    ComparisonConfig,
    ComparisonNet,
    resnext_bottleneck,
)
from shufflenet_ros.zoo.errors import ZooError  # noqa: E402
from shufflenet_ros.zoo.export import export, make_card  # noqa: E402
from shufflenet_ros.zoo.macs import count  # noqa: E402
from shufflenet_ros.zoo.registry import NETWORKS, build, config_of, name_of, values_of  # noqa: E402

NAMES = [name for name, entry in NETWORKS.items() if isinstance(entry.config, ComparisonConfig)]
# Stage 4's width is a multiple of 4, so that it halves twice; the paper's 50 for VGG is only even.
WIDTH_STEPS = {'resnet': 4, 'resnext': 4, 'vgg': 2}
SHUFFLENET = {140: 'shufflenet_v1_x1_0_g8', 38: 'shufflenet_v1_x0_5_g4', 13: 'shufflenet_v1_x0_25_g8'}
XCEPTION_LIKE = {140: 'shufflenet_v1_x1_0_g1', 38: 'shufflenet_v1_x0_5_g1', 13: 'shufflenet_v1_x0_25_g1'}
# Table 4 of the paper.
ERRORS = {
    'vgg_like_140m': 50.7, 'resnet_like_140m': 37.3, 'resnext_like_140m': 33.3, 'resnet_like_38m': 48.8,
    'resnext_like_38m': 46.0, 'resnet_like_13m': 63.7, 'resnext_like_13m': 65.2,
}


def budget_of(name: str) -> int:
    return int(name.rsplit('_', 1)[1][:-1])


def macs(config: object) -> int:
    return count(build(config)).total_macs


def of_width(unit: str, stage4: int, stem: int) -> ComparisonConfig:
    """Widths that double from stage to stage, rounded up where they cannot."""
    return ComparisonConfig(unit, (-(-stage4 // 4), -(-stage4 // 2), stage4), stem)


def nearest_width(unit: str, near: int, stem: int, budget: int) -> int:
    """The width of stage 4 with the cost nearest to a budget. Costs grow with it, so neighbors are enough."""
    step = WIDTH_STEPS[unit]
    return min(range(near - 4 * step, near + 5 * step, step),
               key=lambda width: abs(macs(of_width(unit, width, stem)) - budget))


def test_the_papers_units_and_errors():
    assert {name: NETWORKS[name].error for name in NAMES} == ERRORS
    assert {NETWORKS[name].error for name in SHUFFLENET.values()} == {32.4, 41.6, 52.7}
    assert {NETWORKS[name].error for name in XCEPTION_LIKE.values()} == {33.6, 45.1, 57.1}


@pytest.mark.parametrize('name', NAMES)
def test_no_other_width_is_nearer_to_the_budget(name):
    config, budget = NETWORKS[name].config, budget_of(name) * 10**6
    width = config.stages[-1]
    assert config == of_width(config.unit, width, config.stem)
    assert nearest_width(config.unit, width, config.stem, budget) == width
    assert macs(config) == pytest.approx(budget, rel=0.03)


@pytest.mark.parametrize('name', NAMES)
def test_as_expensive_as_shufflenet_with_its_stem(name):
    config, budget = NETWORKS[name].config, budget_of(name)
    assert config.stem == NETWORKS[XCEPTION_LIKE[budget]].config.stem_channels
    assert macs(config) == pytest.approx(macs(NETWORKS[SHUFFLENET[budget]].config), rel=0.055)


@pytest.mark.parametrize('unit, width, cost', [
    ('resnet', 192, 38_125_056), ('resnext', 192, 38_313_216), ('vgg', 50, 38_941_790)])
def test_the_papers_widths_in_stage_4_give_its_38_million(unit, width, cost):
    assert nearest_width(unit, width, 12, 38_000_000) == width
    assert macs(of_width(unit, width, 12)) == cost


def test_xception_like_is_as_wide_as_the_paper_says():
    assert NETWORKS[XCEPTION_LIKE[38]].config.stage_channels[-1] == 288


@pytest.mark.parametrize('c_out, mid', [
    (16, 16), (32, 16), (48, 16), (49, 32), (96, 48), (192, 96), (356, 176)])
def test_bottlenecks_of_resnext_divide_by_the_cardinality(c_out, mid):
    assert resnext_bottleneck(c_out) == mid and mid % CARDINALITY == 0


@pytest.mark.parametrize('name', NAMES)
def test_the_skeleton_is_shufflenets(name):
    model = build(config_of(name, classes=5))
    assert [len(stage) for stage in (model.stage2, model.stage3, model.stage4)] == [4, 8, 4]
    with torch.no_grad():
        features = model.eval().features(torch.zeros(1, 3, 64, 96))
    assert [tuple(f.shape[2:]) for f in features] == [(8, 12), (4, 6), (2, 3)]
    assert [f.shape[1] for f in features] == list(model.config.stages)
    assert config_of(values_of(model.config), 5) == model.config and name_of(model.config) == name


def test_a_unit_keeps_its_input_through_the_shortcut():
    unit = Bottleneck(8, 8, 4).eval()
    torch.nn.init.zeros_(unit.branch[-1].weight)
    x = torch.rand(2, 8, 5, 5)
    assert torch.equal(unit(x), x)


def test_a_stem_without_pool_doubles_every_side():
    config = ComparisonConfig(classes=5, stem_pool=False)
    assert ComparisonNet(config).features(torch.zeros(1, 3, 32, 32))[-1].shape[2:] == (2, 2)


@pytest.mark.parametrize('values, complaint', [
    ({'unit': 'dense'}, 'expected one of'), ({'stages': (1, 2)}, 'expected the widths of stages 2, 3 and 4'),
    ({'stages': (0, 2, 4)}, 'expected the widths'), ({'stem': 0}, 'expected at least 1'),
])
def test_a_network_outside_the_family_is_rejected(values, complaint):
    with pytest.raises(ZooError, match=complaint):
        ComparisonNet(ComparisonConfig(**values))


@pytest.mark.parametrize('name', ['vgg_like_140m', 'resnet_like_38m', 'resnext_like_13m'])
def test_a_recipe_trains_it_and_it_becomes_a_bundle(name, tmp_path):
    recipe = Recipe(name='tiny', network=name, px=32, epochs=1, batch=12, learning_rate=0.01)
    datasets = load_datasets(write_set(tmp_path / 'tiny.tar', train=12, val=4), None, 32)
    trainer = Trainer(recipe, *datasets, tmp_path / 'run')
    before = {key: value.clone() for key, value in trainer.model.state_dict().items()}
    trainer.run()
    assert not any(torch.equal(value, before[key]) for key, value in trainer.model.state_dict().items())

    path = tmp_path / 'tiny.onnx'
    card = make_card(trainer.model, 'tiny', ['blue', 'green', 'red'], 32)
    parity = export(trainer.model, card, path)
    assert max(parity.logits, parity.embedding) <= 1e-4
    card = load(str(path)).bundle.card
    assert card.network == name and config_of(card.network_config, 3) == config_of(name, 3)
    assert card.cost['params'] == count(trainer.model).params
