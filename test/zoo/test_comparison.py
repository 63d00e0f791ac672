# SPDX-License-Identifier: Apache-2.0
"""The comparison networks: as expensive as ShuffleNet, as wide as in the paper, and trainable."""

import pytest
from training_set import write_set

torch = pytest.importorskip('torch')
pytest.importorskip('onnx')

from shufflenet_ros.bundles.bundle import open_bundle  # noqa: E402
from shufflenet_ros.training.data import load_datasets  # noqa: E402
from shufflenet_ros.training.recipe import Recipe  # noqa: E402
from shufflenet_ros.training.trainer import Trainer  # noqa: E402
from shufflenet_ros.zoo.comparison import (  # noqa: E402
    CARDINALITY,
    Bottleneck,
    ComparisonConfig,
    resnext_bottleneck,
)
from shufflenet_ros.zoo.errors import ZooError  # noqa: E402
from shufflenet_ros.zoo.export import export, make_card  # noqa: E402
from shufflenet_ros.zoo.macs import count  # noqa: E402
from shufflenet_ros.zoo.registry import NETWORKS, build, config_of  # noqa: E402

NAMES = [name for name, entry in NETWORKS.items() if isinstance(entry.config, ComparisonConfig)]
# Stage 4's width is a multiple of 4, so that it halves twice; the paper's 50 for VGG is only even.
WIDTH_STEPS = {'resnet': 4, 'resnext': 4, 'vgg': 2}
SHUFFLENET = {140: 'shufflenet_v1_x1_0_g8', 38: 'shufflenet_v1_x0_5_g4', 13: 'shufflenet_v1_x0_25_g8'}
XCEPTION_LIKE = {140: 'shufflenet_v1_x1_0_g1', 38: 'shufflenet_v1_x0_5_g1', 13: 'shufflenet_v1_x0_25_g1'}


def budget_of(name: str) -> int:
    return int(name.rsplit('_', 1)[1][:-1])


def macs(config: object) -> int:
    return count(build(config)).macs


def of_width(unit: str, stage4: int, stem: int) -> ComparisonConfig:
    """Widths that double from stage to stage, rounded up where they cannot."""
    return ComparisonConfig(unit, (-(-stage4 // 4), -(-stage4 // 2), stage4), stem)


def nearest_width(unit: str, near: int, stem: int, budget: int) -> int:
    """The width of stage 4 with the cost nearest to a budget. Costs grow with it, so neighbors are enough."""
    step = WIDTH_STEPS[unit]
    return min(range(near - 4 * step, near + 5 * step, step),
               key=lambda width: abs(macs(of_width(unit, width, stem)) - budget))


@pytest.mark.parametrize('name', NAMES)
def test_as_expensive_as_shufflenet_and_no_other_width_is_nearer(name):
    config, budget = NETWORKS[name].config, budget_of(name)
    width = config.stages[-1]
    assert config == of_width(config.unit, width, config.stem)
    assert nearest_width(config.unit, width, config.stem, budget * 10**6) == width
    assert macs(config) == pytest.approx(budget * 10**6, rel=0.03)
    assert macs(config) == pytest.approx(macs(NETWORKS[SHUFFLENET[budget]].config), rel=0.055)
    assert config.stem == NETWORKS[XCEPTION_LIKE[budget]].config.stem_channels


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
    model = build(NETWORKS[name].config).eval()
    assert [len(stage) for stage in (model.stage2, model.stage3, model.stage4)] == [4, 8, 4]
    features = model.features(torch.zeros(0, 3, 64, 96))
    assert [f.shape[1] for f in features] == list(model.config.stages)


def test_a_unit_keeps_its_input_through_the_shortcut():
    unit = Bottleneck(8, 8, 4).eval()
    torch.nn.init.zeros_(unit.branch[-1].weight)
    x = torch.rand(2, 8, 5, 5)
    assert torch.equal(unit(x), x)


def test_a_stem_without_pool_doubles_every_side():
    model = build(ComparisonConfig(classes=5, stem_pool=False))
    assert model.features(torch.zeros(0, 3, 32, 32))[-1].shape[2:] == (2, 2)


@pytest.mark.parametrize('values, complaint', [
    ({'unit': 'dense'}, 'expected one of'), ({'stages': (1, 2)}, 'expected the widths of stages 2, 3 and 4'),
    ({'stages': (0, 2, 4)}, 'expected the widths'), ({'stem': 0}, 'expected at least 1'),
])
def test_a_network_outside_the_family_is_rejected(values, complaint):
    with pytest.raises(ZooError, match=complaint):
        build(ComparisonConfig(**values))


@pytest.mark.parametrize('name', ['vgg_like_140m', 'resnet_like_38m', 'resnext_like_13m'])
def test_a_recipe_trains_it_and_it_becomes_a_bundle(name, tmp_path):
    recipe = Recipe(name='tiny', network=name, px=32, epochs=1, batch=12, learning_rate=0.01)
    datasets = load_datasets(write_set(tmp_path / 'tiny.tar', train=12, val=4), None, 32)
    trainer = Trainer(recipe, *datasets, tmp_path / 'run')
    before = {key: value.clone() for key, value in trainer.model.state_dict().items()}
    trainer.run()
    assert not any(torch.equal(value, before[key]) for key, value in trainer.model.state_dict().items())

    path = tmp_path / 'tiny.onnx'
    parity = export(trainer.model, make_card(trainer.model, 'tiny', ['blue', 'green', 'red'], 32), path)
    assert max(parity.logits, parity.embedding) <= 1e-4
    card = open_bundle(str(path)).card
    assert card.network == name and config_of(card.network_config, 3) == config_of(name, 3)
    assert card.cost['params'] == count(trainer.model).params
