# SPDX-License-Identifier: Apache-2.0
"""Infer from the shapes of tensors which network they belong to."""

from dataclasses import replace

from shufflenet_ros.importers.weights import Tensors, shape_of
from shufflenet_ros.zoo.backbone import STAGES
from shufflenet_ros.zoo.errors import ZooError
from shufflenet_ros.zoo.registry import NETWORKS, Config
from shufflenet_ros.zoo.shufflenet_v1 import STAGE2_CHANNELS, ShuffleNetV1Config
from shufflenet_ros.zoo.shufflenet_v2 import CHANNELS, ShuffleNetV2Config

_HEADLESS_LAST = 1024


def infer(family: str, tensors: Tensors) -> Config:
    """The configuration of a network with tensors of these shapes, one of the registry if possible.

    Without a linear layer in the file it has 1000 classes; without v2's last convolution, the paper's width.

    Raises:
        ZooError: a tensor that shows a width is missing, or none of our networks has such a width.
    """
    classes = shape_of(tensors, 'fc.weight', 2)[0] if 'fc.weight' in tensors else 1000
    return replace(_v1(tensors) if family == 'shufflenet_v1' else _v2(tensors), classes=classes)


def _v1(tensors: Tensors) -> ShuffleNetV1Config:
    stem = shape_of(tensors, 'stem.0.weight', 4)[0]
    mid = shape_of(tensors, 'stage2.0.compress.weight', 4)[0]
    per_group = shape_of(tensors, 'stage2.0.expand.weight', 4)[1]
    groups = mid // per_group
    if mid % per_group or groups not in STAGE2_CHANNELS:
        raise ZooError(f'stage2.0.expand reads {per_group} of {mid} channels a group: expected one of '
                       f'{sorted(STAGE2_CHANNELS)} groups')
    stages = tuple(shape_of(tensors, f'{stage}.1.expand.weight', 4)[0] for stage in STAGES)
    for stage, channels in zip(STAGES, stages):
        if channels % (4 * groups):
            raise ZooError(
                f'{stage} has {channels} channels: expected a multiple of {4 * groups}, as its bottleneck, a '
                f"quarter of them, is divided into {groups} groups; jaxony's g = 1 has 567 where the paper "
                'has 576, which none of our networks can represent: use other weights')
    first, second, third = (len({key.split('.')[1] for key in tensors if key.startswith(f'{stage}.')})
                            for stage in STAGES)
    explicit = ShuffleNetV1Config(groups, stem=stem, stages=stages, repeats=(first, second, third))
    for entry in NETWORKS.values():
        config = entry.config
        if isinstance(config, ShuffleNetV1Config) and explicit == replace(
                config, width=explicit.width, stem=config.stem_channels, stages=config.stage_channels):
            return config
    return explicit


def _v2(tensors: Tensors) -> ShuffleNetV2Config:
    stages = tuple(sum(shape_of(tensors, f'{stage}.0.{conv}.weight', 4)[0]
                       for conv in ('branch1.2', 'branch2.5')) for stage in STAGES)
    if 'last.0.weight' in tensors:
        channels = (*stages, shape_of(tensors, 'last.0.weight', 4)[0])
    else:
        known = [widths for widths in CHANNELS.values() if widths[:3] == stages]
        channels = known[0] if known else (*stages, _HEADLESS_LAST)
    for width, widths in CHANNELS.items():
        if widths == channels:
            return ShuffleNetV2Config(width)
    return ShuffleNetV2Config(channels=channels)
