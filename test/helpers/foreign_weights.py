# SPDX-License-Identifier: Apache-2.0
"""Random state dicts of other projects, and their layers in plain functions."""

import pytest
import torch
import torch.nn.functional as F

from shufflenet_ros.importers.state_file import read_content, state_of

LIMIT, SAMPLES, PX, CLASSES = 1e-4, 64, 64, 7
REPEATS = (4, 8, 4)


class State(dict):
    """A random state dict, filled layer by layer, with BN statistics that are not 0 and 1."""

    def conv(self, name, c_out, c_in, kernel=1, groups=1, bias=False):
        fan = c_in // groups * kernel * kernel
        self[f'{name}.weight'] = torch.randn(c_out, c_in // groups, kernel, kernel) * (2 / fan) ** 0.5
        if bias:
            self[f'{name}.bias'] = torch.randn(c_out) * 0.3

    def bn(self, name, channels):
        self[f'{name}.weight'] = torch.empty(channels).uniform_(0.5, 1.5)
        self[f'{name}.bias'] = torch.randn(channels) * 0.2
        self[f'{name}.running_mean'] = torch.randn(channels) * 0.2
        self[f'{name}.running_var'] = torch.empty(channels).uniform_(0.5, 1.5)
        self[f'{name}.num_batches_tracked'] = torch.tensor(5)

    def conv_bn(self, conv, bn, c_out, c_in, kernel=1, groups=1, bias=False):
        """A convolution and its BN."""
        self.conv(conv, c_out, c_in, kernel, groups, bias)
        self.bn(bn, c_out)

    def fc(self, name, channels, bias=True):
        self[f'{name}.weight'] = torch.randn(CLASSES, channels) * channels ** -0.5
        if bias:
            self[f'{name}.bias'] = torch.randn(CLASSES)


def conv(state, name, x, stride=1, groups=1):
    """A convolution with or without bias that keeps the size, except for its stride."""
    weight = state[f'{name}.weight']
    return F.conv2d(x, weight, state.get(f'{name}.bias'), stride, weight.shape[-1] // 2, 1, groups)


def bn(state, name, x):
    """BN in evaluation mode."""
    return F.batch_norm(x, state[f'{name}.running_mean'], state[f'{name}.running_var'],
                        state[f'{name}.weight'], state[f'{name}.bias'])


def head(state, name, x):
    """Global pooling and the linear layer."""
    return F.linear(x.mean((2, 3)), state[f'{name}.weight'], state.get(f'{name}.bias'))


def images(channels_of_bgr=False, seed=0):
    """(64, 3, 64, 64) in the order R, G, B, or B, G, R."""
    x = torch.randn(SAMPLES, 3, PX, PX, generator=torch.Generator().manual_seed(seed))
    return x.flip(1) if channels_of_bgr else x


def relative(got, expected):
    """Largest difference relative to the largest value."""
    return float((got - expected).abs().max() / expected.abs().max())


def randomize_batch_norms(model):
    """Change the statistics from 0 and 1, which would hide a BN that is left out or swapped."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.2)
    return model.eval()


def pytorchcv_model(family, name, classes=CLASSES):
    """pytorchcv's own network with random weights and BN statistics."""
    torch.manual_seed(1)
    model = getattr(pytest.importorskip(f'pytorchcv.models.{family}'), name)(num_classes=classes)
    # it pools 7x7; images of 64 px are pooled as a whole
    model.features.final_pool = torch.nn.AdaptiveAvgPool2d(1)
    return randomize_batch_norms(model)


def read_state(path):
    """A file's tensors."""
    return state_of(read_content(path)[1], str(path))
