# SPDX-License-Identifier: Apache-2.0
"""Growing a ShuffleNet v1: the wide network computes the same as the narrow one, and can learn more."""

from dataclasses import replace

import pytest

torch = pytest.importorskip('torch')

import foreign_weights as foreign  # noqa: E402
import torch.nn.functional as F  # noqa: E402

from shufflenet_ros.training.grow import grow  # noqa: E402
from shufflenet_ros.zoo.errors import ZooError  # noqa: E402
from shufflenet_ros.zoo.registry import build  # noqa: E402
from shufflenet_ros.zoo.shufflenet_v1 import ShuffleNetV1Config  # noqa: E402

LIMIT = 1e-4


def trained(config):
    """Weights and statistics that no initialization gives, so that a missing copy shows."""
    torch.manual_seed(0)
    model = foreign.randomize_batch_norms(build(replace(config, classes=foreign.CLASSES)))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith('fc.') or name.endswith('conv.bias'):
                parameter.normal_()
    return model


def doubled(config):
    return replace(config, stem=2 * config.stem_channels, stages=tuple(2 * c for c in config.stage_channels))


_V1 = ShuffleNetV1Config
EXACT = [
    (_V1(1, 0.25), _V1(1, 0.5)), (_V1(1, 0.5), _V1(1, 1.0)), (_V1(3, 0.25), _V1(3, 0.5)),
    (_V1(3, 0.5), _V1(3, 1.0)), (_V1(3, 1.0), _V1(3, 2.0)), (_V1(3, 0.25), _V1(3, 1.0)),
    (_V1(3, 0.5), _V1(3, 0.75)), (_V1(8, 0.5), _V1(8, 1.0)), (_V1(2, 1.0), _V1(2, 2.0)),
    (_V1(4, 1.0), _V1(4, 2.0)), *((_V1(g, 0.5), doubled(_V1(g, 0.5))) for g in (2, 4, 8)),
    (_V1(3, 0.25, stem_pool=False), _V1(3, 0.5, stem_pool=False)),
    (_V1(8, 0.5, stem_pool=False), _V1(8, 1.0, stem_pool=False)),
    (_V1(3, 0.5, shuffle=False), _V1(3, 1.0, shuffle=False)),
    (_V1(3, 0.25, shortcut_first=True, shuffle_inverse=True),
     doubled(_V1(3, 0.25, shortcut_first=True, shuffle_inverse=True))),
    (_V1(3, 0.25, se=True, bare_stem=True, repeats=(2, 4, 2)),
     _V1(3, 0.5, se=True, bare_stem=True, repeats=(2, 4, 2))),
]


@pytest.mark.parametrize('narrow, target', EXACT)
@torch.no_grad()
def test_the_grown_network_computes_the_same(narrow, target):
    model, x = trained(narrow), torch.randn(4, 3, 48, 48)
    expected = model(x)
    wide = grow(model, target, noise=0.0, seed=0)
    assert wide.config == replace(target, classes=foreign.CLASSES) and not wide.training
    assert foreign.relative(wide(x), expected) <= LIMIT
    # copies have their original's statistics too, so it trains on as the narrow one would
    assert foreign.relative(wide.train()(x), model.train()(x)) <= LIMIT


@pytest.mark.parametrize('narrow, target, expected', [
    (_V1(8, 0.25), _V1(8, 0.5), r'the bottleneck of a unit of stage2 cannot be grown from 24 to 48'),
    (_V1(2, 0.25), _V1(2, 0.5), r'the outputs of the stages cannot be grown from 200 to 400'),
    (_V1(4, 0.5), _V1(4, 1.0), r'cannot be grown from 544 to 1088'),
    (_V1(3, 0.5), _V1(3, 0.25), 'wider stages'), (_V1(3, 0.5), _V1(3, 0.5), 'wider stages'),
    (_V1(3, 0.5), _V1(1, 1.0), 'the same options'), (_V1(3, 0.5), _V1(3, 1.0, stem_pool=False), 'options'),
    (_V1(3, 0.5), _V1(3, 1.0, repeats=(2, 4, 2)), 'the same options'),
])
def test_an_inexact_growth_is_rejected_with_the_reason(narrow, target, expected):
    with pytest.raises(ZooError, match=expected):
        grow(trained(narrow), target, noise=0.0, seed=0)


def test_copies_learn_different_things_even_without_noise():
    model = trained(_V1(3, 0.25))
    wide = grow(model, _V1(3, 0.5), noise=0.0, seed=0).train()
    x, target = torch.randn(8, 3, 64, 64), torch.arange(8) % foreign.CLASSES
    F.cross_entropy(wide(x), target).backward()
    pairs = 0
    for unit in (*wide.stage2, *wide.stage3, *wide.stage4):
        norm = unit.compress_bn
        _, copy_of = norm.weight.detach().unique(return_inverse=True)
        for original in copy_of.unique():
            gradients = norm.weight.grad[copy_of == original]
            if len(gradients) > 1 and gradients.any():  # no gradient reaches a channel that ReLU cuts off
                pairs += 1
                assert gradients.unique().numel() == len(gradients)
    assert pairs > 400


@torch.no_grad()
def test_noise_changes_the_logits_a_little_and_depends_on_the_seed():
    model, x, target = trained(_V1(3, 0.25)), torch.randn(4, 3, 64, 64), _V1(3, 0.5)
    wide = grow(model, target, noise=0.01, seed=5)
    assert 1e-4 < foreign.relative(wide(x), model(x)) < 0.05
    same, other = grow(model, target, noise=0.01, seed=5), grow(model, target, noise=0.01, seed=6)
    assert torch.equal(same(x), wide(x)) and not torch.equal(other(x), wide(x))
