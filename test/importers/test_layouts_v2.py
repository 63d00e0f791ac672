# SPDX-License-Identifier: Apache-2.0
"""Other projects' ShuffleNet v2: each layout computed twice, by its own semantics written here and by us."""

import pytest

torch = pytest.importorskip('torch')

import foreign_weights as foreign  # noqa: E402
import torch.nn.functional as F  # noqa: E402

from shufflenet_ros.importers.convert import convert  # noqa: E402
from shufflenet_ros.importers.state_file import plain  # noqa: E402
from shufflenet_ros.zoo.backbone import STAGES  # noqa: E402
from shufflenet_ros.zoo.shufflenet_v2 import CHANNELS  # noqa: E402


def main_branch(state, name, x, stride):
    """1x1, depthwise, 1x1 under the indices 0 to 6 that torchvision and Megvii share."""
    y = F.relu(foreign.bn(state, f'{name}.1', foreign.conv(state, f'{name}.0', x)))
    y = foreign.bn(state, f'{name}.4', foreign.conv(state, f'{name}.3', y, stride, y.shape[1]))
    return F.relu(foreign.bn(state, f'{name}.6', foreign.conv(state, f'{name}.5', y)))


def side_branch(state, name, x):
    """Depthwise, 1x1 under the indices 0 to 3."""
    y = foreign.bn(state, f'{name}.1', foreign.conv(state, f'{name}.0', x, 2, x.shape[1]))
    return F.relu(foreign.bn(state, f'{name}.3', foreign.conv(state, f'{name}.2', y)))


def random_state(channels, unit_name, main, side, stem, last, fc, *, narrow_side, fc_bias):
    state, c_in = foreign.State(), 24
    state.conv(f'{stem}.0', 24, 3, 3)
    state.bn(f'{stem}.1', 24)
    for stage, (c_out, count) in enumerate(zip(channels, foreign.REPEATS)):
        for unit in range(count):
            name, mid = unit_name(stage, unit), c_out // 2
            sees = mid if unit else c_in
            first = c_in if narrow_side else mid
            out = mid if unit else c_out - first
            state.conv(f'{name}.{main}.0', mid, sees)
            state.conv(f'{name}.{main}.3', mid, mid, 3, mid)
            state.conv(f'{name}.{main}.5', out, mid)
            for index, width in ((1, mid), (4, mid), (6, out)):
                state.bn(f'{name}.{main}.{index}', width)
            if unit == 0:
                state.conv(f'{name}.{side}.0', c_in, c_in, 3, c_in)
                state.conv(f'{name}.{side}.2', first, c_in)
                state.bn(f'{name}.{side}.1', c_in)
                state.bn(f'{name}.{side}.3', first)
        c_in = c_out
    state.conv(f'{last}.0', channels[3], c_in)
    state.bn(f'{last}.1', channels[3])
    state.fc(fc, channels[3], bias=fc_bias)
    return state


def torchvision_unit(stage, unit):
    return f'stage{stage + 2}.{unit}'


def megvii_unit(stage, unit):
    return f'features.{(0, 4, 12)[stage] + unit}'


def features(state, x, unit_name, main, side, stem, mix):
    """The stages' outputs. mix: 'shuffle' (torchvision) splits into halves, else (Megvii) even and odd."""
    x = F.relu(foreign.bn(state, f'{stem}.1', foreign.conv(state, f'{stem}.0', x, 2)))
    x, outputs = F.max_pool2d(x, 3, 2, 1), []
    for stage, count in enumerate(foreign.REPEATS):
        for unit in range(count):
            name = unit_name(stage, unit)
            if unit == 0:
                left, right = side_branch(state, f'{name}.{side}', x), x
            elif mix == 'shuffle':
                left, right = x.chunk(2, 1)
            else:
                left, right = x[:, 0::2], x[:, 1::2]
            x = torch.cat((left, main_branch(state, f'{name}.{main}', right, 1 if unit else 2)), 1)
            if mix == 'shuffle':
                n, c, h, w = x.shape
                x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        outputs.append(x)
    return outputs


def megvii_features(state, x, unit_name=megvii_unit):
    return features(state, x, unit_name, 'branch_main', 'branch_proj', 'first_conv', 'even and odd')


def logits(state, x, last, fc):
    x = F.relu(foreign.bn(state, f'{last}.1', foreign.conv(state, f'{last}.0', x)))
    return foreign.head(state, fc, x)


@pytest.mark.parametrize('width', [0.5, 1.0])
@torch.no_grad()
def test_torchvisions_logits(width):
    torch.manual_seed(2)
    state = random_state(CHANNELS[width], torchvision_unit, 'branch2', 'branch1', 'conv1', 'conv5', 'fc',
                         narrow_side=False, fc_bias=True)
    # as DataParallel and a trainer would have saved it
    saved = {'epoch': 3, 'state_dict': {f'module.{key}': value for key, value in state.items()}}
    imported = convert(plain(saved, 'test'))
    config = imported.config
    assert imported.layout == 'torchvision_v2' and (config.width, config.megvii) == (width, False)
    x = foreign.images()
    *_, last = features(state, x, torchvision_unit, 'branch2', 'branch1', 'conv1', 'shuffle')
    expected = logits(state, last, 'conv5', 'fc')
    assert foreign.relative(imported.model(x), expected) <= foreign.LIMIT


@pytest.mark.parametrize('channels, megvii', [
    (CHANNELS[0.5], False), (CHANNELS[1.0], True), (CHANNELS[1.5], True),
    ((48, 96, 192, 64), False),
])
@torch.no_grad()
def test_megviis_logits(channels, megvii):
    torch.manual_seed(3)
    state = random_state(channels, megvii_unit, 'branch_main', 'branch_proj', 'first_conv', 'conv_last',
                         'classifier.0', narrow_side=True, fc_bias=False)
    imported = convert(plain(dict(state), 'test'))
    assert imported.layout == 'megvii_v2' and imported.config.megvii is megvii
    expected = megvii_features(state, foreign.images(channels_of_bgr=True))
    expected_logits = logits(state, expected[-1], 'conv_last', 'classifier.0')
    assert foreign.relative(imported.model(foreign.images()), expected_logits) <= foreign.LIMIT
    compare_features(imported, expected)


def compare_features(imported, expected):
    for stage, got, theirs in zip(STAGES, imported.model.features(foreign.images()), expected):
        order = imported.orders.get(stage, range(theirs.shape[1]))
        assert sorted(order) == list(range(theirs.shape[1]))
        assert foreign.relative(got, theirs[:, list(order)]) <= foreign.LIMIT


def magnitude(state):
    return float(sum(value.double().abs().sum() for value in state.values() if value.is_floating_point()))


@torch.no_grad()
def test_the_real_backbone_is_loaded_whole(shared_data):
    state = foreign.read_state(shared_data / 'shufflenet_v2_x0_5_backbone.pth')
    imported = convert(state)
    assert imported.layout == 'megvii_v2_staged' and imported.config.width == 0.5
    assert not imported.config.megvii
    # every tensor is used: the network has as many values as the file, and only the head is missing
    assert {key.split('.')[0] for key in imported.missing} == {'last', 'fc'}
    ours = {key: value for key, value in imported.model.state_dict().items()
            if key not in imported.missing and not key.startswith(('last.', 'fc.'))}
    assert len(ours) == len(state) == 330
    assert magnitude(ours) == pytest.approx(magnitude(state))
    compare_features(imported, megvii_features(state, foreign.images(), torchvision_unit))


@pytest.mark.parametrize('name, channels', [
    ('shufflenetv2_wd2', (48, 96, 192, 1024)), ('shufflenetv2_w1', (116, 232, 464, 1024)),
    ('shufflenetv2_w3d2', (176, 352, 704, 1553)), ('shufflenetv2_w2', (244, 488, 976, 2153)),
])
@torch.no_grad()
def test_logits_equal_pytorchcv_itself(name, channels):
    model = foreign.pytorchcv_model('shufflenetv2', name)
    imported = convert(model.state_dict())
    assert imported.layout == 'pytorchcv_v2' and imported.config.ceil_pool
    assert (imported.config.channels or CHANNELS[imported.config.width]) == channels
    assert foreign.relative(imported.model(foreign.images()), model(foreign.images())) <= foreign.LIMIT
