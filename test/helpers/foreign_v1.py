# SPDX-License-Identifier: Apache-2.0
"""ShuffleNet v1 as other projects name and compute it, with random weights."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from foreign_weights import REPEATS, State, bn, conv, head


def plain_shuffle(x, groups):
    n, c, h, w = x.shape
    return x.reshape(n, groups, c // groups, h, w).transpose(1, 2).reshape(n, c, h, w)


def inverse_shuffle(x, groups):
    n, c, h, w = x.shape
    return x.reshape(n, c // groups, groups, h, w).permute(0, 2, 1, 3, 4).reshape(n, c, h, w)


@dataclass(frozen=True)
class Project:
    """A project's names and semantics. `parts`: compress, its BN, depthwise, its BN, expand, its BN."""

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
        """A random state dict of this project."""
        state, c_in = State(), stem
        state.conv(self.stem, stem, 3, 3, bias=self.conv_bias)
        if self.stem_bn:
            state.bn(self.stem_bn, stem)
        for stage, (c_out, count) in enumerate(zip(stages, REPEATS)):
            for unit in range(count):
                name, mid = self.unit(stage, unit), c_out // 4
                p = [f'{name}.{part}' for part in self.parts]
                branch = c_out if unit else c_out - c_in
                state.conv_bn(*p[:2], mid, c_in, 1, groups if stage or unit else 1, self.conv_bias)
                state.conv_bn(*p[2:4], mid, mid, 3, mid, self.conv_bias)
                state.conv_bn(*p[4:], branch, mid, 1, groups, self.conv_bias)
                c_in = c_out
        state.fc(self.fc, c_in, bias=self.fc_bias)
        return state

    def forward(self, state, x, groups):
        """Logits as this project computes them."""
        x = conv(state, self.stem, x, 2)
        if self.stem_bn:
            x = F.relu(bn(state, self.stem_bn, x))
        x = F.max_pool2d(x, 3, 2, 1)
        for stage, count in enumerate(REPEATS):
            for unit in range(count):
                x = self._unit(state, self.unit(stage, unit), x, groups, stage or unit, unit == 0)
        x = head(state, self.fc, x)
        return F.log_softmax(x, 1) if self.log_softmax else x

    def _unit(self, state, name, x, groups, grouped, down):
        p = [f'{name}.{part}' for part in self.parts]
        y = F.relu(bn(state, p[1], conv(state, p[0], x, groups=groups if grouped else 1)))
        if groups > 1 and not self.after_depthwise:
            y = self.shuffle(y, groups)
        y = bn(state, p[3], conv(state, p[2], y, 2 if down else 1, y.shape[1]))
        if groups > 1 and self.after_depthwise:
            y = self.shuffle(y, groups)
        y = bn(state, p[5], conv(state, p[4], y, groups=groups))
        if not down:
            return F.relu(x + y)
        shortcut = F.avg_pool2d(x, 3, 2, 1)
        if self.relu_on_branch:
            return torch.cat((shortcut, F.relu(y)), 1)
        return F.relu(torch.cat((shortcut, y), 1))


MEGVII = Project(
    lambda stage, unit: f'features.{(0, 4, 12)[stage] + unit}',
    ('branch_main_1.0', 'branch_main_1.1', 'branch_main_1.3', 'branch_main_1.4', 'branch_main_2.0',
     'branch_main_2.1'),
    'first_conv.0', 'first_conv.1', 'classifier.0', inverse_shuffle, after_depthwise=True,
    relu_on_branch=True, fc_bias=False, bgr=True)
JAXONY = Project(
    lambda stage, unit: f'stage{stage + 2}.ShuffleUnit_Stage{stage + 2}_{unit}',
    ('g_conv_1x1_compress.conv1x1', 'g_conv_1x1_compress.batch_norm', 'depthwise_conv3x3',
     'bn_after_depthwise', 'g_conv_1x1_expand.conv1x1', 'g_conv_1x1_expand.batch_norm'),
    'conv1', '', 'fc', plain_shuffle, after_depthwise=False, relu_on_branch=False, conv_bias=True,
    log_softmax=True)
MMPRETRAIN = Project(
    lambda stage, unit: f'backbone.layers.{stage}.{unit}',
    ('g_conv_1x1_compress.conv', 'g_conv_1x1_compress.bn', 'depthwise_conv3x3_bn.conv',
     'depthwise_conv3x3_bn.bn', 'g_conv_1x1_expand.conv', 'g_conv_1x1_expand.bn'),
    'backbone.conv1.conv', 'backbone.conv1.bn', 'head.fc', plain_shuffle, after_depthwise=True,
    relu_on_branch=True)
HALF_G3, HALF_G8 = (120, 240, 480), (192, 384, 768)
