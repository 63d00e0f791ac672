# SPDX-License-Identifier: Apache-2.0
"""A wider ShuffleNet v1 that computes the same as a trained narrow one (Net2Net, Chen et al., ICLR 2016).

Each channel of the wide network is a copy of a channel of the narrow one. A layer that reads the original now
reads its copies, with shares that sum to 1. A grouped convolution reads only its own group. So each group
must hold a copy of every channel of its narrow counterpart, also after concatenations and shuffles.

So a copy must pass through the same groups as its original. The list of these groups is called the path of a
channel here.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from shufflenet_ros.zoo.backbone import STAGES
from shufflenet_ros.zoo.channel_shuffle import channel_shuffle
from shufflenet_ros.zoo.errors import ZooError
from shufflenet_ros.zoo.shufflenet_v1 import ShuffleNetV1, ShuffleNetV1Config, ShuffleUnit, SqueezeExcite

_block_diag: Any = torch.block_diag  # untyped
_FREE: dict[str, Any] = {'width': 1.0, 'stem': 0, 'stages': (), 'classes': 1000}
"""The options that may differ; both networks get these values before they are compared."""


def is_wider(config: ShuffleNetV1Config, target: ShuffleNetV1Config) -> bool:
    """Whether the target is a wider network with the same options."""
    return (replace(target, **_FREE) == replace(config, **_FREE)
            and all(wide > narrow for narrow, wide in zip(config.stage_channels, target.stage_channels)))


@torch.no_grad()
def grow(model: ShuffleNetV1, target: ShuffleNetV1Config, noise: float, seed: int) -> ShuffleNetV1:
    """The network of `target` that computes the same as `model`.

    The shares of the copies are random and unequal. That is exact too, and lets them learn different things.

    Args:
        target: the model's options except width, stem and stages; its class count is ignored.
        noise: standard deviation of the noise on the weights of 1x1 convolutions, relative to that of the
            layer's weights. With 0 the function stays the same.
        seed: of shares and noise.

    Raises:
        ZooError: other options, no wider stages, or groups that cannot get a copy of every channel they need.
    """
    if not is_wider(model.config, target):
        raise ZooError(f'{target}: expected wider stages than those of {model.config}, and the same options '
                       'except width, stem and stages')
    wide = ShuffleNetV1(replace(target, classes=model.config.classes))
    originals = _originals(_paths(model), _paths(wide), 'the outputs of the stages')
    copier = _Copier(torch.Generator().manual_seed(seed), noise)
    copier.pointwise(model.fc, wide.fc, originals, torch.arange(model.config.classes), exact=True)
    for name in reversed(STAGES):
        pairs = list(zip(getattr(model, name), getattr(wide, name), strict=True))
        shortcut, branch = _split_output(originals, *pairs[0])
        copier.unit(*pairs[0], shortcut, branch, f'the first unit of {name}')
        for narrow_unit, wide_unit in pairs[1:]:
            copier.unit(narrow_unit, wide_unit, originals, originals, f'a unit of {name}')
        originals = shortcut
    for narrow_layer, wide_layer in zip(model.stem, wide.stem, strict=True):
        copier.per_channel(narrow_layer, wide_layer, originals)
    return wide.train(model.training)


def _groups(channels: int, groups: int) -> list[int]:
    """The group of each channel."""
    return [channel * groups // channels for channel in range(channels)]


def _paths(network: ShuffleNetV1) -> list[tuple[object, ...]]:
    """For each channel of the last stage's output: where it was computed, and its group in each later stage.

    Every stage's output is part of the last one's, because stride-2 units concatenate their input.
    """
    paths: list[tuple[object, ...]] = [('stem',)] * network.config.stem_channels
    for name in STAGES:
        first = getattr(network, name)[0]
        branch = [(name, group) for group in _groups(first.expand.out_channels, first.expand.groups)]
        paths = [*paths, *branch] if first.shortcut_first else [*branch, *paths]
        paths = [(*path, group) for path, group in zip(paths, _groups(len(paths), first.expand.groups))]
    return paths


def _shuffle(unit: ShuffleUnit) -> torch.Tensor:
    """(C,) the bottleneck's channel at each index after the shuffle."""
    channels = torch.arange(unit.compress.out_channels)
    return channel_shuffle(channels[None, :, None, None], unit.shuffle_groups).flatten()


def _bottleneck_paths(unit: ShuffleUnit) -> list[tuple[object, ...]]:
    """For each output channel of `compress`: its group there, and the group of `expand` that reads it."""
    channels = unit.compress.out_channels
    readers = _groups(channels, unit.expand.groups)
    index = _shuffle(unit).argsort().tolist()
    return [(writer, readers[index[channel]])
            for channel, writer in enumerate(_groups(channels, unit.compress.groups))]


def _originals(narrow: Sequence[tuple[object, ...]], wide: Sequence[tuple[object, ...]], what: str,
               allow_new: bool = False) -> torch.Tensor:
    """(wide channels,) the narrow channel that each wide one copies: on the same path, each at least once.

    Args:
        narrow, wide: the path of each channel.
        what: what the channels are, for the error.
        allow_new: whether there may be paths that the narrow network does not have. Their channels copy
            others of the same writing group; no layer needs them yet.

    Raises:
        ZooError: a path with fewer channels than in the narrow network, or with nothing to copy.
    """
    sources, written = defaultdict(list), defaultdict(list)
    for channel, path in enumerate(narrow):
        sources[path].append(channel)
        written[path[0]].append(channel)
    targets = defaultdict(list)
    for channel, path in enumerate(wide):
        targets[path].append(channel)
    originals = torch.empty(len(wide), dtype=torch.long)
    for path in [*sources, *(path for path in targets if path not in sources)]:
        here, there = sources[path], targets[path]
        if not here and allow_new:
            here = written[path[0]][:len(there)]
        if len(there) < len(here) or not here:
            raise ZooError(
                f'{what} cannot be grown from {len(narrow)} to {len(wide)} channels: the groups '
                f'{"/".join(map(str, path))} share {len(here)} channels in the narrow network and '
                f'{len(there)} in the wide one; expected at least as many, and none if the narrow one has '
                'none. Grow to another width, or start from random weights')
        for rank, channel in enumerate(there):
            originals[channel] = here[rank * len(here) // len(there)]
    return originals


def _split_output(originals: torch.Tensor, narrow: ShuffleUnit, wide: ShuffleUnit
                  ) -> tuple[torch.Tensor, torch.Tensor]:
    """The originals of a stride-2 unit's output, split into those of its input and of its branch."""
    if narrow.shortcut_first:
        at = wide.compress.in_channels
        return originals[:at], originals[at:] - narrow.compress.in_channels
    at = wide.expand.out_channels
    return originals[at:] - narrow.expand.out_channels, originals[:at]


@dataclass(frozen=True)
class _Copier:
    """Fills layers of the wide network from those of the narrow one.

    `reads` and `writes` are the originals of a layer's inputs and outputs.
    """

    generator: torch.Generator
    noise: float

    def unit(self, narrow: ShuffleUnit, wide: ShuffleUnit, reads: torch.Tensor, writes: torch.Tensor,
             what: str) -> None:
        inner = _originals(_bottleneck_paths(narrow), _bottleneck_paths(wide), f'the bottleneck of {what}',
                           allow_new=True)
        shuffled = _shuffle(narrow).argsort()[inner[_shuffle(wide)]]
        self.pointwise(narrow.compress, wide.compress, reads, inner)
        self.per_channel(narrow.compress_bn, wide.compress_bn, inner)
        self.per_channel(narrow.depthwise, wide.depthwise, shuffled)
        self.per_channel(narrow.depthwise_bn, wide.depthwise_bn, shuffled)
        self.pointwise(narrow.expand, wide.expand, shuffled, writes)
        self.per_channel(narrow.expand_bn, wide.expand_bn, writes)
        if isinstance(narrow.se, SqueezeExcite) and isinstance(wide.se, SqueezeExcite):
            paths = [[('squeeze',)] * se.squeeze.out_channels for se in (narrow.se, wide.se)]
            squeezed = _originals(paths[0], paths[1], f'the squeeze of {what}')
            self.pointwise(narrow.se.squeeze, wide.se.squeeze, writes, squeezed)
            self.pointwise(narrow.se.excite, wide.se.excite, squeezed, writes)

    def per_channel(self, narrow: nn.Module, wide: nn.Module, writes: torch.Tensor) -> None:
        """BN, depthwise convolutions, and the stem, whose input is the image."""
        state = narrow.state_dict()
        wide.load_state_dict({key: value[writes] if value.ndim else value for key, value in state.items()})

    def pointwise(self, narrow: nn.Conv2d | nn.Linear, wide: nn.Conv2d | nn.Linear, reads: torch.Tensor,
                  writes: torch.Tensor, exact: bool = False) -> None:
        """1x1 convolutions in groups, and the linear layer."""
        groups = narrow.groups if isinstance(narrow, nn.Conv2d) else 1
        dense: torch.Tensor = _block_diag(*narrow.weight.flatten(1).chunk(groups))
        per_group = torch.ones(len(writes) // groups, len(reads) // groups)
        within: torch.Tensor = _block_diag(*[per_group] * groups)
        shares = within * (0.5 + torch.rand(within.shape, generator=self.generator))
        sums = torch.zeros(len(writes), dense.shape[1]).index_add_(1, reads, shares)
        weight = (dense[writes][:, reads] * shares / sums[:, reads])[within.bool()]
        if not exact:
            weight += self.noise * narrow.weight.std() * torch.randn(weight.shape, generator=self.generator)
        wide.weight.copy_(weight.view_as(wide.weight))
        if narrow.bias is not None and wide.bias is not None:
            wide.bias.copy_(narrow.bias[writes])
