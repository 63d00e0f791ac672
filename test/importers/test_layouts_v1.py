"""Other codes' ShuffleNet v1: each layout computed twice, by its own semantics written here and by us."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

torch = pytest.importorskip('torch')

import foreign_weights as foreign  # noqa: E402
import torch.nn.functional as F  # noqa: E402

from shufflenet_ros.importers.channel_matching import match, places, shuffled  # noqa: E402
from shufflenet_ros.importers.convert import convert  # noqa: E402
from shufflenet_ros.zoo.errors import ZooError  # noqa: E402


def plain_shuffle(x, groups):
    n, c, h, w = x.shape
    return x.reshape(n, groups, c // groups, h, w).transpose(1, 2).reshape(n, c, h, w)


def inverse_shuffle(x, groups):
    n, c, h, w = x.shape
    return x.reshape(n, c // groups, groups, h, w).permute(0, 2, 1, 3, 4).reshape(n, c, h, w)


@dataclass(frozen=True)
class Code:
    """A code's names and semantics. `parts`: compress, its BN, depthwise, its BN, expand, its BN."""

    unit: Callable[[int, int], str]
    parts: tuple[str, ...]
    stem: str
    stem_bn: str
    fc: str
    shuffle: Callable
    after_depthwise: bool
    relu_on_branch: bool
    conv_bias: bool = False
    fc_bias: bool = True
    log_softmax: bool = False
    bgr: bool = False

    def state(self, groups, stem, stages):
        """A random state dict of this code."""
        state, c_in = foreign.State(), stem
        state.conv(self.stem, stem, 3, 3, bias=self.conv_bias)
        if self.stem_bn:
            state.bn(self.stem_bn, stem)
        for stage, (c_out, count) in enumerate(zip(stages, foreign.REPEATS)):
            for unit in range(count):
                name, mid = self.unit(stage, unit), c_out // 4
                p = [f'{name}.{part}' for part in self.parts]
                branch = c_out if unit else c_out - c_in
                state.conv(p[0], mid, c_in, groups=groups if stage or unit else 1, bias=self.conv_bias)
                state.conv(p[2], mid, mid, 3, mid, bias=self.conv_bias)
                state.conv(p[4], branch, mid, groups=groups, bias=self.conv_bias)
                for bn, channels in zip(p[1::2], (mid, mid, branch)):
                    state.bn(bn, channels)
                c_in = c_out
        state.fc(self.fc, c_in, bias=self.fc_bias)
        return state

    def forward(self, state, x, groups):
        """Logits as this code computes them."""
        x = foreign.conv(state, self.stem, x, 2)
        if self.stem_bn:
            x = F.relu(foreign.bn(state, self.stem_bn, x))
        x = F.max_pool2d(x, 3, 2, 1)
        for stage, count in enumerate(foreign.REPEATS):
            for unit in range(count):
                x = self._unit(state, self.unit(stage, unit), x, groups, stage or unit, unit == 0)
        x = foreign.head(state, self.fc, x)
        return F.log_softmax(x, 1) if self.log_softmax else x

    def _unit(self, state, name, x, groups, grouped, down):
        p = [f'{name}.{part}' for part in self.parts]
        y = F.relu(foreign.bn(state, p[1], foreign.conv(state, p[0], x, groups=groups if grouped else 1)))
        if groups > 1 and not self.after_depthwise:
            y = self.shuffle(y, groups)
        y = foreign.bn(state, p[3], foreign.conv(state, p[2], y, 2 if down else 1, y.shape[1]))
        if groups > 1 and self.after_depthwise:
            y = self.shuffle(y, groups)
        y = foreign.bn(state, p[5], foreign.conv(state, p[4], y, groups=groups))
        if not down:
            return F.relu(x + y)
        shortcut = F.avg_pool2d(x, 3, 2, 1)
        if self.relu_on_branch:
            return torch.cat((shortcut, F.relu(y)), 1)
        return F.relu(torch.cat((shortcut, y), 1))


MEGVII = Code(
    lambda stage, unit: f'features.{(0, 4, 12)[stage] + unit}',
    ('branch_main_1.0', 'branch_main_1.1', 'branch_main_1.3', 'branch_main_1.4', 'branch_main_2.0',
     'branch_main_2.1'),
    'first_conv.0', 'first_conv.1', 'classifier.0', inverse_shuffle, after_depthwise=True,
    relu_on_branch=True, fc_bias=False, bgr=True)
JAXONY = Code(
    lambda stage, unit: f'stage{stage + 2}.ShuffleUnit_Stage{stage + 2}_{unit}',
    ('g_conv_1x1_compress.conv1x1', 'g_conv_1x1_compress.batch_norm', 'depthwise_conv3x3',
     'bn_after_depthwise', 'g_conv_1x1_expand.conv1x1', 'g_conv_1x1_expand.batch_norm'),
    'conv1', '', 'fc', plain_shuffle, after_depthwise=False, relu_on_branch=False, conv_bias=True,
    log_softmax=True)
MMPRETRAIN = Code(
    lambda stage, unit: f'backbone.layers.{stage}.{unit}',
    ('g_conv_1x1_compress.conv', 'g_conv_1x1_compress.bn', 'depthwise_conv3x3_bn.conv',
     'depthwise_conv3x3_bn.bn', 'g_conv_1x1_expand.conv', 'g_conv_1x1_expand.bn'),
    'backbone.conv1.conv', 'backbone.conv1.bn', 'head.fc', plain_shuffle, after_depthwise=True,
    relu_on_branch=True)

P1 = {1: (144, 288, 576), 2: (200, 400, 800), 3: (240, 480, 960), 4: (272, 544, 1088), 8: (384, 768, 1536)}
HALF_G3, HALF_G8 = (120, 240, 480), (192, 384, 768)
OPTIONS = ('shortcut_first', 'shuffle_inverse', 'bare_stem')
# code, layout, groups, stem, stages, the options that our network must have, our network's width
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


@pytest.mark.parametrize('code, layout, groups, stem, stages, options, width', CASES)
@torch.no_grad()
def test_logits_equal_the_codes_own_semantics(code, layout, groups, stem, stages, options, width):
    torch.manual_seed(groups)
    state = code.state(groups, stem, stages)
    imported = convert(_plain(state))
    config = imported.model.config
    assert imported.layout == layout and not imported.missing
    assert (config.stage_channels, config.stem_channels, config.groups) == (stages, stem, groups)
    assert {name for name in OPTIONS if getattr(config, name)} == options
    assert width is None or config.width == width
    expected = code.forward(state, foreign.images(code.bgr), groups)
    got = imported.model(foreign.images())
    if code.log_softmax:
        got = F.log_softmax(got, 1)
    assert foreign.relative(got, expected) <= foreign.LIMIT


def _plain(state):
    from shufflenet_ros.importers.state_file import plain
    return plain(dict(state), 'test')


@pytest.mark.parametrize('name', ['shufflenet_g1_wd4', 'shufflenet_g3_wd4', 'shufflenet_g8_w1'])
@torch.no_grad()
def test_logits_equal_pytorchcv_itself(name):
    theirs = pytest.importorskip('pytorchcv.models.shufflenet')
    torch.manual_seed(1)
    model = foreign.randomize_batch_norms(getattr(theirs, name)(num_classes=foreign.CLASSES))
    # it pools 7x7, so that at 64 px its pooling alone has to be widened to the whole 2x2
    model.features.final_pool = torch.nn.AdaptiveAvgPool2d(1)
    imported = convert(model.state_dict())
    assert imported.layout == 'pytorchcv_v1' and imported.by.mean[0] == 0.485
    assert foreign.relative(imported.model(foreign.images()), model(foreign.images())) <= foreign.LIMIT


def test_jaxonys_one_group_is_refused_with_the_reason():
    stages = (144, 288, 567)
    with pytest.raises(ZooError, match='stage4 has 567 channels: expected a multiple of 4.*paper has 576'):
        convert(_plain(JAXONY.state(1, 24, stages)))


def test_a_backbone_without_head_is_whole_but_for_the_head():
    state = {key.removeprefix('backbone.'): value for key, value in MMPRETRAIN.state(3, 12, HALF_G3).items()
             if key.startswith('backbone.')}
    assert convert(_plain(state)).missing == {'fc.weight', 'fc.bias'}


def test_fates_are_matched_in_order_or_not_at_all():
    assert match('abca', 'aacb') == [0, 3, 2, 1]
    assert match('abca', 'abcc') is None and match('ab', 'a') is None
    assert shuffled(12, 3) == [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]
    assert places(shuffled(12, 3)) == shuffled(12, 4)
