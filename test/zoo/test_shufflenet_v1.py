# SPDX-License-Identifier: Apache-2.0
"""ShuffleNet v1 against the paper's tables; costs are in test_complexity.py, logits in test_layouts_v1.py."""

import pytest

torch = pytest.importorskip('torch')

from shufflenet_ros.zoo.errors import ZooError  # noqa: E402
from shufflenet_ros.zoo.macs import count  # noqa: E402
from shufflenet_ros.zoo.registry import build  # noqa: E402
from shufflenet_ros.zoo.shufflenet_v1 import (  # noqa: E402
    ShuffleNetV1,
    ShuffleNetV1Config,
    stage_channels,
    stem_channels,
)


@pytest.mark.parametrize('groups, channels', [
    (1, (144, 288, 576)), (2, (200, 400, 800)), (3, (240, 480, 960)), (4, (272, 544, 1088)),
    (8, (384, 768, 1536)),
])
def test_channels_of_table_1(groups, channels):
    assert stage_channels(groups, 1.0) == channels


@pytest.mark.parametrize('width, by_groups', [
    (0.25, {1: 12, 2: 12, 3: 12, 4: 8, 8: 8}), (0.5, {1: 12, 2: 12, 3: 12, 4: 12, 8: 16}),
    (0.75, {1: 18, 2: 18, 3: 18, 4: 20, 8: 24}), (1.0, dict.fromkeys((1, 2, 3, 4, 8), 24)),
    (1.5, dict.fromkeys((1, 2, 3, 4, 8), 24)), (2.0, dict.fromkeys((1, 2, 3, 4, 8), 48)),
])
def test_default_stems(width, by_groups):
    assert {g: stem_channels(g, width) for g in by_groups} == by_groups


@pytest.mark.parametrize('config, message', [
    (ShuffleNetV1Config(3, stem=10), 'stem=10: expected a multiple of groups=3'),
    (ShuffleNetV1Config(5), r'groups=5: expected one of \[1, 2, 3, 4, 8\]'),
    (ShuffleNetV1Config(0), 'groups=0.*no network can be built from it'),
    (ShuffleNetV1Config(3, 0.0), 'width=0.0: expected'), (ShuffleNetV1Config(3, -1.0), 'width=-1.0'),
    (ShuffleNetV1Config(3, stages=(240, 480, 950)), 'a stage of 950 channels: expected a multiple of 12'),
])
def test_a_network_outside_the_family_is_rejected(config, message):
    with pytest.raises(ZooError, match=message):
        build(config)


def test_the_shuffle_matters_and_one_group_has_none():
    torch.manual_seed(0)
    x = torch.randn(1, 3, 64, 64)
    for groups, same in ((3, False), (1, True)):
        with_shuffle = ShuffleNetV1(ShuffleNetV1Config(groups, 0.25, classes=5)).eval()
        without = ShuffleNetV1(ShuffleNetV1Config(groups, 0.25, classes=5, shuffle=False)).eval()
        without.load_state_dict(with_shuffle.state_dict())
        assert torch.allclose(with_shuffle(x), without(x)) is same


def test_the_order_of_the_concatenation_is_the_configs():
    torch.manual_seed(0)
    ours = ShuffleNetV1(ShuffleNetV1Config(3, 0.25, classes=5)).eval()
    theirs = ShuffleNetV1(ShuffleNetV1Config(3, 0.25, classes=5, shortcut_first=True)).eval()
    theirs.load_state_dict(ours.state_dict())
    with torch.no_grad():
        x = ours.stem(torch.randn(1, 3, 64, 64))
        first, shortcut = ours.stage2[0], ours.stem[0].out_channels
        assert torch.equal(theirs.stage2[0](x), first(x).roll(shortcut, 1))


def test_the_shallow_network_has_half_the_units():
    model = build(ShuffleNetV1Config(3, 0.5, repeats=(2, 4, 2)))
    assert [len(stage) for stage in (model.stage2, model.stage3, model.stage4)] == [2, 4, 2]
    # Plain widths with half the units cost 21.6M, so the paper's 40M shallow network was widened.
    assert count(model).macs / 1e6 == pytest.approx(21.6, abs=0.1)
