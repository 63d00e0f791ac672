# SPDX-License-Identifier: Apache-2.0
"""Every network of the registry builds, has its strides and is rebuilt from its card; docs/zoo.md works."""

import json
import re
import sys
import types
from dataclasses import replace

import pytest

torch = pytest.importorskip('torch')

from shufflenet_ros.zoo import registry  # noqa: E402
from shufflenet_ros.zoo.errors import ZooError  # noqa: E402
from shufflenet_ros.zoo.macs import count  # noqa: E402
from shufflenet_ros.zoo.registry import NETWORKS, build, config_of, name_of, values_of  # noqa: E402
from shufflenet_ros.zoo.shufflenet_v1 import ShuffleNetV1Config  # noqa: E402


@pytest.mark.parametrize('name', NETWORKS)
def test_every_network_has_features_embedding_and_logits(name):
    network = build(config_of(name, classes=7)).eval()
    x = torch.zeros(0, 3, 64, 96)
    assert [tuple(f.shape[2:]) for f in network.features(x)] == [(8, 12), (4, 6), (2, 3)]
    assert network.embed(x).shape == (0, network.embedding_dim) and network(x).shape == (0, 7)
    assert network.first_conv.in_channels == 3


@pytest.mark.parametrize('name', NETWORKS)
def test_a_card_rebuilds_the_network_and_finds_its_name(name):
    config = config_of(name, classes=7)
    values = json.loads(json.dumps(values_of(config)))
    assert 'classes' not in values and config_of(values, classes=7) == config
    assert name_of(config) == name


def test_an_unlisted_network_is_custom():
    config = ShuffleNetV1Config(3, 0.5, shortcut_first=True)
    assert name_of(config) == 'shufflenet_v1_custom' and config_of(values_of(config)) == config


@pytest.mark.parametrize('network, message', [
    ('shufflenet_v1_x9', 'unknown network'), ({'family': 'resnet'}, 'unknown family'),
    ({'group': 3}, r"shufflenet_v1 has no field \['group'\]"), ({'classes': 5}, 'no field'),
])
def test_an_unknown_network_is_rejected(network, message):
    with pytest.raises(ZooError, match=message):
        config_of(network)


@pytest.mark.parametrize('name, option, more', [
    ('shufflenet_v1_x0_5_g3', {'se': True}, True), ('shufflenet_v1_x0_5_g3', {'shuffle': False}, False),
    ('shufflenet_v1_x0_5_g3', {'shortcut_first': True}, False),
])
def test_what_an_option_costs(name, option, more):
    config = config_of(name)
    plain, changed = count(build(config)), count(build(replace(config, **option)))
    assert (changed.macs > plain.macs) is more and (changed.params > plain.params) is more


def test_a_stem_without_its_pool_costs_four_times_the_stages():
    pooled = config_of('shufflenet_v1_x0_5_g3')
    config = replace(pooled, stem_pool=False)
    wide, plain = (count(build(config), (64, 64)) for config in (config, pooled))
    features = build(config).eval().features(torch.zeros(0, 3, 64, 64))
    stem, linear = 32 * 32 * 27 * 12, 480 * 1000
    assert wide.macs - stem - linear == 4 * (plain.macs - stem - linear)
    assert [tuple(f.shape[2:]) for f in features] == [(16, 16), (8, 8), (4, 4)]


def test_squeeze_excite_scales_the_branch_and_not_the_shortcut():
    torch.manual_seed(0)
    config = ShuffleNetV1Config(3, 0.25, se=True)
    unit = build(config).eval().stage2[1]
    x = torch.rand(1, 60, 8, 8)
    with torch.no_grad():
        unit.se.excite.weight.zero_()
        unit.se.excite.bias.fill_(-1e4)  # sigmoid 0: the branch is silenced
        assert torch.equal(unit(x), x)


def python_blocks(repo_root):
    return re.findall(r'```python\n(.*?)```', (repo_root / 'docs' / 'zoo.md').read_text(), re.S)


def test_the_documented_backbone_runs_as_written(repo_root):
    scope = {}
    exec(python_blocks(repo_root)[0], scope)
    shapes = re.findall(r'\((1, [^)]+)\)', python_blocks(repo_root)[0].split('features(image)')[1])
    got = [scope[name].shape for name in ('s8', 's16', 's32', 'embedding', 'logits')]
    assert [', '.join(map(str, shape)) for shape in got] == shapes


def test_the_documented_new_network_works_as_written(repo_root, monkeypatch, tmp_path):
    pytest.importorskip('onnx')
    from shufflenet_ros.zoo.export import export, make_card

    _, source, lines = python_blocks(repo_root)
    module = types.ModuleType('separable')
    monkeypatch.setitem(sys.modules, 'separable', module)  # where dataclasses look for annotations
    exec(source, module.__dict__)
    scope = {**vars(registry), **vars(module)}
    family, entry = (eval('{' + line + '}', scope) for line in lines.splitlines()[1:])
    monkeypatch.setattr(registry, 'FAMILIES', {**registry.FAMILIES, **family})
    monkeypatch.setattr(registry, 'NETWORKS', {**registry.NETWORKS, **entry})

    torch.manual_seed(0)
    model = build(config_of('separable_x1_0', classes=5)).eval()
    card = make_card(model, 'separable', list('abcde'), 64)
    assert card.network == 'separable_x1_0' and card.network_config == {'family': 'separable'}
    assert export(model, card, tmp_path / 'separable.onnx').logits <= 1e-4
