# SPDX-License-Identifier: Apache-2.0
"""Other projects' ShuffleNet v1: each layout computed twice, by its own semantics and by us."""

import pytest

torch = pytest.importorskip('torch')

import foreign_weights as foreign  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from foreign_v1 import HALF_G3, HALF_G8, JAXONY, MEGVII, MMPRETRAIN  # noqa: E402

from shufflenet_ros.importers.channel_order import match, positions, shuffled  # noqa: E402
from shufflenet_ros.importers.convert import convert  # noqa: E402
from shufflenet_ros.importers.state_file import plain  # noqa: E402
from shufflenet_ros.zoo.errors import ZooError  # noqa: E402
from shufflenet_ros.zoo.registry import name_of  # noqa: E402

P1 = {1: (144, 288, 576), 2: (200, 400, 800), 3: (240, 480, 960), 4: (272, 544, 1088), 8: (384, 768, 1536)}
OPTIONS = ('shortcut_first', 'shuffle_inverse', 'bare_stem')
# project, layout, groups, stem, stages, the options that our network must have, our network's width
CASES = [
    (MEGVII, 'megvii_v1', 3, 12, HALF_G3, {'shortcut_first'}, 0.5),
    (MEGVII, 'megvii_v1', 3, 24, P1[3], {'shortcut_first'}, 1.0),
    (MEGVII, 'megvii_v1', 8, 16, HALF_G8, {'shortcut_first', 'shuffle_inverse'}, 0.5),
    (MEGVII, 'megvii_v1', 8, 24, P1[8], {'shortcut_first', 'shuffle_inverse'}, 1.0),
    # bottlenecks of multiples of g * g are permuted with g = 8, too
    (MEGVII, 'megvii_v1', 8, 16, (256, 512, 1024), {'shortcut_first'}, None),
    (JAXONY, 'jaxony', 3, 24, P1[3], {'shortcut_first', 'bare_stem'}, 1.0),
    (JAXONY, 'jaxony', 8, 24, P1[8], {'shortcut_first', 'bare_stem'}, 1.0),
    (MMPRETRAIN, 'mmpretrain_v1', 3, 24, P1[3], {'shortcut_first'}, 1.0),
    (MMPRETRAIN, 'mmpretrain_v1', 1, 12, (72, 144, 288), {'shortcut_first'}, 0.5),
    (MMPRETRAIN, 'mmpretrain_v1', 8, 24, P1[8], {'shortcut_first'}, 1.0),
]
# every v1 network that pytorchcv has, and ours
PYTORCHCV = [
    ('shufflenet_g1_w1', 'x1_0_g1'), ('shufflenet_g2_w1', 'x1_0_g2'), ('shufflenet_g3_w1', 'x1_0_g3'),
    ('shufflenet_g4_w1', 'x1_0_g4'), ('shufflenet_g8_w1', 'x1_0_g8'), ('shufflenet_g1_w3d4', 'x0_75_g1'),
    ('shufflenet_g3_w3d4', 'x0_75_g3'), ('shufflenet_g1_wd2', 'x0_5_g1'), ('shufflenet_g3_wd2', 'x0_5_g3'),
    ('shufflenet_g1_wd4', 'x0_25_g1_stem6'), ('shufflenet_g3_wd4', 'x0_25_g3_stem6'),
]


@pytest.mark.parametrize('project, layout, groups, stem, stages, options, width', CASES)
@torch.no_grad()
def test_logits_equal_the_projects_own_semantics(project, layout, groups, stem, stages, options, width):
    torch.manual_seed(groups)
    state = project.state(groups, stem, stages)
    imported = convert(plain(dict(state), 'test'))
    config = imported.model.config
    assert imported.layout == layout and not imported.missing
    assert (config.stage_channels, config.stem_channels, config.groups) == (stages, stem, groups)
    assert {name for name in OPTIONS if getattr(config, name)} == options
    assert width is None or config.width == width
    expected = project.forward(state, foreign.images(project.bgr), groups)
    got = imported.model(foreign.images())
    if project.log_softmax:
        got = F.log_softmax(got, 1)
    assert foreign.relative(got, expected) <= foreign.LIMIT


@pytest.mark.parametrize('name, ours', PYTORCHCV)
@torch.no_grad()
def test_logits_equal_pytorchcv_itself(name, ours):
    model = foreign.pytorchcv_model('shufflenet', name)
    imported = convert(model.state_dict())
    assert imported.layout == 'pytorchcv_v1' and imported.normalization.mean[0] == 0.485
    assert name_of(imported.model.config) == f'shufflenet_v1_{ours}'
    images = foreign.images()[:64 if name.endswith('wd4') else 8]
    assert foreign.relative(imported.model(images), model(images)) <= foreign.LIMIT


def test_jaxonys_one_group_is_an_error_with_the_reason():
    stages = (144, 288, 567)
    with pytest.raises(ZooError, match='stage4 has 567 channels: expected a multiple of 4.*paper has 576'):
        convert(dict(JAXONY.state(1, 24, stages)))


def test_a_backbone_without_head_is_whole_but_for_the_head():
    state = {key.removeprefix('backbone.'): value for key, value in MMPRETRAIN.state(3, 12, HALF_G3).items()
             if key.startswith('backbone.')}
    assert convert(state).missing == {'fc.weight', 'fc.bias'}


def test_channels_are_matched_in_order_or_not_at_all():
    a, b, c = (0, 1), (0, 2), (1, 0)
    assert match([a, b, c, a], [a, a, c, b]) == [0, 3, 2, 1]
    assert match([a, b, c, a], [a, b, c, c]) is None and match([a, b], [a]) is None
    assert positions(shuffled(12, 3)) == shuffled(12, 4)
