# SPDX-License-Identifier: Apache-2.0
"""Other projects' ShuffleNet v2: each layout computed twice, by its own semantics written here and by us."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

torch = pytest.importorskip('torch')

import foreign_weights as foreign  # noqa: E402
import torch.nn.functional as F  # noqa: E402

from shufflenet_ros.importers.convert import convert  # noqa: E402
from shufflenet_ros.importers.state_file import plain  # noqa: E402
from shufflenet_ros.zoo.backbone import STAGES  # noqa: E402
from shufflenet_ros.zoo.shufflenet_v2 import CHANNELS  # noqa: E402


@dataclass(frozen=True)
class Project:
    """A project's names: of a unit, of its branches, of the network's other parts; and its semantics.

    Megvii's projection keeps its number of channels, its units split into even and odd channels, and it takes
    BGR; torchvision's split into halves and shuffle.
    """

    unit: Callable[[int, int], str]
    main: str
    side: str
    stem: str
    last: str
    fc: str
    megvii: bool

    def state(self, channels):
        """A random state dict of this project."""
        state, c_in = foreign.State(), 24
        state.conv_bn(f'{self.stem}.0', f'{self.stem}.1', 24, 3, 3)
        for stage, (c_out, count) in enumerate(zip(channels, foreign.REPEATS)):
            for unit in range(count):
                main, side = (f'{self.unit(stage, unit)}.{branch}' for branch in (self.main, self.side))
                mid = c_out // 2
                first = c_in if self.megvii else mid
                out = mid if unit else c_out - first
                state.conv_bn(f'{main}.0', f'{main}.1', mid, mid if unit else c_in)
                state.conv_bn(f'{main}.3', f'{main}.4', mid, mid, 3, mid)
                state.conv_bn(f'{main}.5', f'{main}.6', out, mid)
                if unit == 0:
                    state.conv_bn(f'{side}.0', f'{side}.1', c_in, c_in, 3, c_in)
                    state.conv_bn(f'{side}.2', f'{side}.3', first, c_in)
            c_in = c_out
        state.conv_bn(f'{self.last}.0', f'{self.last}.1', channels[3], c_in)
        state.fc(self.fc, channels[3], bias=not self.megvii)
        return state

    def features(self, state, x):
        """The stages' outputs as this project computes them."""
        def layer(name, conv, x, stride=1, groups=1):
            x = foreign.conv(state, f'{name}.{conv}', x, stride, groups)
            return foreign.bn(state, f'{name}.{conv + 1}', x)

        x, outputs = F.max_pool2d(F.relu(layer(self.stem, 0, x, 2)), 3, 2, 1), []
        for stage, count in enumerate(foreign.REPEATS):
            for unit in range(count):
                main, side = (f'{self.unit(stage, unit)}.{branch}' for branch in (self.main, self.side))
                if unit == 0:
                    left, right = F.relu(layer(side, 2, layer(side, 0, x, 2, x.shape[1]))), x
                else:
                    left, right = (x[:, 0::2], x[:, 1::2]) if self.megvii else x.chunk(2, 1)
                y = F.relu(layer(main, 0, right))
                y = layer(main, 3, y, 1 if unit else 2, y.shape[1])
                x = torch.cat((left, F.relu(layer(main, 5, y))), 1)
                if not self.megvii:
                    n, c, h, w = x.shape
                    x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
            outputs.append(x)
        return outputs

    def logits(self, state, x):
        """From the last stage's output."""
        x = foreign.bn(state, f'{self.last}.1', foreign.conv(state, f'{self.last}.0', x))
        return foreign.head(state, self.fc, F.relu(x))


TORCHVISION = Project(lambda stage, unit: f'stage{stage + 2}.{unit}', 'branch2', 'branch1', 'conv1', 'conv5',
                      'fc', megvii=False)
MEGVII = Project(lambda stage, unit: f'features.{(0, 4, 12)[stage] + unit}', 'branch_main', 'branch_proj',
                 'first_conv', 'conv_last', 'classifier.0', megvii=True)


# project, layout, channels, whether our network needs the option `megvii`
@pytest.mark.parametrize('project, layout, channels, megvii', [
    (TORCHVISION, 'torchvision_v2', CHANNELS[0.5], False),
    (TORCHVISION, 'torchvision_v2', CHANNELS[1.0], False),
    (MEGVII, 'megvii_v2', CHANNELS[0.5], False), (MEGVII, 'megvii_v2', CHANNELS[1.0], True),
    (MEGVII, 'megvii_v2', CHANNELS[1.5], True), (MEGVII, 'megvii_v2', (48, 96, 192, 64), False),
])
@torch.no_grad()
def test_logits_equal_the_projects_own_semantics(project, layout, channels, megvii):
    torch.manual_seed(3)
    state = project.state(channels)
    # as DataParallel and a trainer would have saved it
    saved = {'epoch': 3, 'state_dict': {f'module.{key}': value for key, value in state.items()}}
    imported = convert(plain(saved, 'test'))
    config = imported.model.config
    assert imported.layout == layout and config.megvii is megvii
    assert (config.channels or CHANNELS[config.width]) == channels
    expected = project.features(state, foreign.images(project.megvii))
    compare_features(imported, expected)
    logits = project.logits(state, expected[-1])
    assert foreign.relative(imported.model(foreign.images()), logits) <= foreign.LIMIT


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
    assert imported.layout == 'megvii_v2_staged' and imported.model.config.width == 0.5
    assert not imported.model.config.megvii
    # every tensor is used: the network has as many values as the file, and only the head is missing
    assert {key.split('.')[0] for key in imported.missing} == {'last', 'fc'}
    ours = {key: value for key, value in imported.model.state_dict().items()
            if key not in imported.missing and not key.startswith(('last.', 'fc.'))}
    assert len(ours) == len(state) == 330
    assert magnitude(ours) == pytest.approx(magnitude(state))
    compare_features(imported, replace(MEGVII, unit=TORCHVISION.unit).features(state, foreign.images()))


@pytest.mark.parametrize('name, channels', [
    ('shufflenetv2_wd2', (48, 96, 192, 1024)), ('shufflenetv2_w1', (116, 232, 464, 1024)),
    ('shufflenetv2_w3d2', (176, 352, 704, 1553)), ('shufflenetv2_w2', (244, 488, 976, 2153)),
])
@torch.no_grad()
def test_logits_equal_pytorchcv_itself(name, channels):
    model = foreign.pytorchcv_model('shufflenetv2', name)
    imported = convert(model.state_dict())
    assert imported.layout == 'pytorchcv_v2' and imported.model.config.ceil_pool
    assert (imported.model.config.channels or CHANNELS[imported.model.config.width]) == channels
    assert foreign.relative(imported.model(foreign.images()), model(foreign.images())) <= foreign.LIMIT
