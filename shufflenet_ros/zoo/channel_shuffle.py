# SPDX-License-Identifier: Apache-2.0
"""The channel shuffle (ShuffleNet, CVPR 2018, section 3.1)."""

import torch

from shufflenet_ros.zoo.errors import ZooError


def channel_shuffle(x: torch.Tensor, groups: int) -> torch.Tensor:
    """Mix the channels of a grouped convolution's output, so that each next group sees all of them.

    g*n channels are reshaped to (g, n), transposed and flattened: out[j*g + i] = in[i*n + j].
    The inverse is the shuffle with n groups. torch.nn.ChannelShuffle is not used, because the ONNX exporter
    that makes bundles has no symbol for it.

    Args:
        x: (N, C, H, W), any dtype.
        groups: g; C must be a multiple of it.

    Returns:
        (N, C, H, W), the same dtype.

    Raises:
        ZooError: C is not a multiple of groups.
    """
    n, c, h, w = x.shape
    if c % groups:
        raise ZooError(f'{c} channels cannot be shuffled in {groups} groups: expected a multiple of {groups}')
    if groups in (1, c):
        return x
    return x.view(n, groups, c // groups, h, w).transpose(1, 2).reshape(n, c, h, w)
