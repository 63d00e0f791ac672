# SPDX-License-Identifier: Apache-2.0
"""ShuffleNet v1 against the paper's tables and an independent implementation; see also test_complexity.py."""

import pytest

torch = pytest.importorskip('torch')

from foreign_weights import randomize_batch_norms, relative  # noqa: E402

from shufflenet_ros.zoo.macs import count  # noqa: E402
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


@pytest.mark.parametrize('groups', [1, 2, 3, 4, 8])
@pytest.mark.parametrize('width', [0.25, 0.5, 0.75, 1.0, 1.5, 2.0])
def test_every_group_count_and_width_builds_and_halves(groups, width):
    assert all(c % (4 * groups) == 0 for c in stage_channels(groups, width))
    with torch.no_grad(), torch.device('meta'):
        model = ShuffleNetV1(ShuffleNetV1Config(groups, width, classes=7)).eval()
        x = model.stem(torch.zeros(1, 3, 64, 96))
        assert x.shape == (1, model.stem[0].out_channels, 16, 24)
        for stage, (h, w) in zip((model.stage2, model.stage3, model.stage4), ((8, 12), (4, 6), (2, 3))):
            x = stage(x)
            assert x.shape[2:] == (h, w)
        assert model(torch.zeros(2, 3, 64, 96)).shape == (2, 7)


@pytest.mark.parametrize('width, by_groups', [
    (0.25, {1: 12, 2: 12, 3: 12, 4: 8, 8: 8}), (0.5, {1: 12, 2: 12, 3: 12, 4: 12, 8: 16}),
    (0.75, {1: 18, 2: 18, 3: 18, 4: 20, 8: 24}), (1.0, dict.fromkeys((1, 2, 3, 4, 8), 24)),
    (1.5, dict.fromkeys((1, 2, 3, 4, 8), 24)), (2.0, dict.fromkeys((1, 2, 3, 4, 8), 48)),
])
def test_default_stems(width, by_groups):
    assert {g: stem_channels(g, width) for g in by_groups} == by_groups


def test_a_stem_that_cannot_be_grouped_is_rejected():
    with pytest.raises(ValueError, match='stem=10: expected a multiple of groups=3'):
        ShuffleNetV1(ShuffleNetV1Config(3, 1.0, stem=10))


@pytest.mark.parametrize('groups, width', [(5, 1.0), (3, 0.0), (3, -1.0)])
def test_a_network_outside_the_family_is_rejected(groups, width):
    with pytest.raises(ValueError, match='expected'):
        stage_channels(groups, width)


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
    config = ShuffleNetV1Config(3, 0.5, repeats=(2, 4, 2))
    with torch.device('meta'):
        model = ShuffleNetV1(config)
        assert [len(stage) for stage in (model.stage2, model.stage3, model.stage4)] == [2, 4, 2]
        # Plain widths with half the units cost 21.6M, so the paper's 40M shallow network was widened.
        assert count(model).total_macs / 1e6 == pytest.approx(21.6, abs=0.1)


# pytorchcv's name, our groups, width and stem: every v1 network that it has.
PYTORCHCV = [
    ('shufflenet_g1_w1', 1, 1.0, 24), ('shufflenet_g2_w1', 2, 1.0, 24), ('shufflenet_g3_w1', 3, 1.0, 24),
    ('shufflenet_g4_w1', 4, 1.0, 24), ('shufflenet_g8_w1', 8, 1.0, 24),
    ('shufflenet_g1_w3d4', 1, 0.75, 18), ('shufflenet_g3_w3d4', 3, 0.75, 18),
    ('shufflenet_g1_wd2', 1, 0.5, 12), ('shufflenet_g3_wd2', 3, 0.5, 12),
    ('shufflenet_g1_wd4', 1, 0.25, 6), ('shufflenet_g3_wd4', 3, 0.25, 6),
]
UNIT_KEYS = {
    'compress_conv1': 'compress', 'compress_bn1': 'compress_bn', 'dw_conv2': 'depthwise',
    'dw_bn2': 'depthwise_bn', 'expand_conv3': 'expand', 'expand_bn3': 'expand_bn',
}


def ours_from_pytorchcv(key: str) -> str:
    parts = key.split('.')
    if parts[0] == 'output':
        return f'fc.{parts[1]}'
    if parts[1] == 'init_block':
        return f'stem.{0 if parts[2] == "conv" else 1}.{parts[3]}'
    stage, unit = int(parts[1][len('stage'):]) + 1, int(parts[2][len('unit'):]) - 1
    return f'stage{stage}.{unit}.{UNIT_KEYS[parts[3]]}.{parts[4]}'


@pytest.mark.parametrize('name, groups, width, stem', PYTORCHCV)
def test_logits_equal_pytorchcv(name, groups, width, stem):
    reference_module = pytest.importorskip('pytorchcv.models.shufflenet')
    torch.manual_seed(groups)
    reference = getattr(reference_module, name)().eval()
    randomize_batch_norms(reference)
    ours = ShuffleNetV1(ShuffleNetV1Config(groups, width, stem=stem)).eval()
    ours.load_state_dict({ours_from_pytorchcv(k): v for k, v in reference.state_dict().items()})
    x = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        assert relative(ours(x), reference(x)) <= 1e-4
