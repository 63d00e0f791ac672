"""A wider ShuffleNet v1 that computes what a trained narrow one computes (Net2Net, Chen et al., ICLR 2016).

Each channel of the wide network is a copy of one of the narrow network's, and who reads that one now reads
its copies, with shares that sum to 1. A grouped convolution reads its own group alone, so each group must
hold a copy of every channel that the narrow network's group holds, also behind concatenations and shuffles.
Places that belong to the same groups all the way make a cell, and copies stay in the cell of their original.
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

_FREE: dict[str, Any] = {'width': 1.0, 'stem': 0, 'stages': (), 'classes': 1000}
"""What may differ between the two networks, with one value for both."""


def is_wider(config: ShuffleNetV1Config, target: ShuffleNetV1Config) -> bool:
    """Whether the target is a wider network with the same options."""
    return (replace(target, **_FREE) == replace(config, **_FREE)
            and all(wide > narrow for narrow, wide in zip(config.stage_channels, target.stage_channels)))


@torch.no_grad()
def grow(model: ShuffleNetV1, target: ShuffleNetV1Config, noise: float, seed: int) -> ShuffleNetV1:
    """The network of `target`, with the function of `model`.

    Copies take uneven shares, drawn by chance: that is exact too, and lets them learn different things.

    Args:
        target: the model's options but for width, stem and stages; its class count is the model's.
        noise: standard deviation of what is added to the weights of 1x1 convolutions, relative to that of
            the layer's weights; 0 keeps the function exactly.
        seed: of shares and noise.

    Raises:
        ZooError: other options, no wider stages, or channels that cannot be copied so that every group gets
            what it needs.
    """
    if not is_wider(model.config, target):
        raise ZooError(f'{target}: expected wider stages than those of {model.config}, and the same options '
                       'but for width, stem and stages')
    wide = ShuffleNetV1(replace(target, classes=model.config.classes))
    copies = _copies(_cells(model), _cells(wide), 'the outputs of the stages')
    copier = _Copier(torch.Generator().manual_seed(seed), noise)
    copier.pointwise(model.fc, wide.fc, copies, torch.arange(model.config.classes), exact=True)
    for name in reversed(STAGES):
        pairs = list(zip(getattr(model, name), getattr(wide, name), strict=True))
        before, branch = _apart(copies, *pairs[0])
        copier.unit(*pairs[0], before, branch, f'the first unit of {name}')
        for narrow_unit, wide_unit in pairs[1:]:
            copier.unit(narrow_unit, wide_unit, copies, copies, f'a unit of {name}')
        copies = before
    for narrow_layer, wide_layer in zip(model.stem, wide.stem, strict=True):
        copier.per_channel(narrow_layer, wide_layer, copies)
    return wide.train(model.training)


def _groups(channels: int, groups: int) -> list[int]:
    """The group of each channel."""
    return [channel * groups // channels for channel in range(channels)]


def _cells(network: ShuffleNetV1) -> list[tuple[object, ...]]:
    """For each channel that the last stage gives: who wrote it first, and its group in each stage since.

    Every stage's output is a part of the last one's, as a stride-2 unit hands its input on beside its branch.
    """
    cells: list[tuple[object, ...]] = [('stem',)] * network.config.stem_channels
    for name in STAGES:
        first = getattr(network, name)[0]
        branch = [(name, group) for group in _groups(first.expand.out_channels, first.expand.groups)]
        cells = [*cells, *branch] if first.shortcut_first else [*branch, *cells]
        cells = [(*cell, group) for cell, group in zip(cells, _groups(len(cells), first.expand.groups))]
    return cells


def _shuffle(unit: ShuffleUnit) -> torch.Tensor:
    """(C,) the channel of the bottleneck that the shuffle puts in each place."""
    channels = torch.arange(unit.compress.out_channels)
    return channel_shuffle(channels[None, :, None, None], unit.shuffle_groups).flatten()


def _inner_cells(unit: ShuffleUnit) -> list[tuple[object, ...]]:
    """For each channel that `compress` gives: the group that writes it, and the group that reads it."""
    channels = unit.compress.out_channels
    readers = _groups(channels, unit.expand.groups)
    place = _shuffle(unit).argsort().tolist()
    return [(writer, readers[place[channel]])
            for channel, writer in enumerate(_groups(channels, unit.compress.groups))]


def _copies(narrow: Sequence[tuple[object, ...]], wide: Sequence[tuple[object, ...]], what: str,
            spares: bool = False) -> torch.Tensor:
    """(wide channels,) the narrow channel that each wide one copies; each is copied, and in its own cell.

    Args:
        narrow, wide: the cell of each channel.
        what: what the channels are, for the error.
        spares: whether places in a cell that the narrow network doesn't have may hold copies of what the
            same group writes elsewhere, which nobody needs yet.

    Raises:
        ZooError: a cell with too few places, or with places and nothing to copy.
    """
    originals, written = defaultdict(list), defaultdict(list)
    for channel, cell in enumerate(narrow):
        originals[cell].append(channel)
        written[cell[0]].append(channel)
    places = defaultdict(list)
    for place, cell in enumerate(wide):
        places[cell].append(place)
    copies = torch.empty(len(wide), dtype=torch.long)
    for cell in [*originals, *(cell for cell in places if cell not in originals)]:
        here, there = originals[cell], places[cell]
        if not here and spares:
            here = written[cell[0]][:len(there)]
        if len(there) < len(here) or not here:
            raise ZooError(
                f'{what} cannot be grown from {len(narrow)} to {len(wide)} channels: the groups '
                f'{"/".join(map(str, cell))} share {len(here)} channels in the narrow network and '
                f'{len(there)} in the wide one; expected at least as many, and none for none. Grow to '
                'another width, or start from random weights')
        for rank, place in enumerate(there):
            copies[place] = here[rank * len(here) // len(there)]
    return copies


def _apart(copies: torch.Tensor, narrow: ShuffleUnit, wide: ShuffleUnit) -> tuple[torch.Tensor, torch.Tensor]:
    """What a stride-2 unit's output copies, cut into its input's part and its branch's."""
    if narrow.shortcut_first:
        cut = wide.compress.in_channels
        return copies[:cut], copies[cut:] - narrow.compress.in_channels
    cut = wide.expand.out_channels
    return copies[cut:] - narrow.expand.out_channels, copies[:cut]


@dataclass(frozen=True)
class _Copier:
    """Fills layers of the wide network from those of the narrow one.

    In its methods `reads` and `writes` are the narrow channels that a layer's inputs and outputs copy.
    """

    generator: torch.Generator
    noise: float

    def unit(self, narrow: ShuffleUnit, wide: ShuffleUnit, reads: torch.Tensor, writes: torch.Tensor, what: str) -> None:
        inner = _copies(_inner_cells(narrow), _inner_cells(wide), f'the bottleneck of {what}', spares=True)
        shuffled = _shuffle(narrow).argsort()[inner[_shuffle(wide)]]
        self.pointwise(narrow.compress, wide.compress, reads, inner)
        self.per_channel(narrow.compress_bn, wide.compress_bn, inner)
        self.per_channel(narrow.depthwise, wide.depthwise, shuffled)
        self.per_channel(narrow.depthwise_bn, wide.depthwise_bn, shuffled)
        self.pointwise(narrow.expand, wide.expand, shuffled, writes)
        self.per_channel(narrow.expand_bn, wide.expand_bn, writes)
        if isinstance(narrow.se, SqueezeExcite) and isinstance(wide.se, SqueezeExcite):
            cells = [[('squeeze',)] * se.squeeze.out_channels for se in (narrow.se, wide.se)]
            squeezed = _copies(cells[0], cells[1], f'the squeeze of {what}')
            self.pointwise(narrow.se.squeeze, wide.se.squeeze, writes, squeezed)
            self.pointwise(narrow.se.excite, wide.se.excite, squeezed, writes)

    def per_channel(self, narrow: nn.Module, wide: nn.Module, writes: torch.Tensor) -> None:
        """BN, depthwise convolutions, and the stem, which reads no copies."""
        state = narrow.state_dict()
        wide.load_state_dict({key: value[writes] if value.ndim else value for key, value in state.items()})

    def pointwise(self, narrow: nn.Conv2d | nn.Linear, wide: nn.Conv2d | nn.Linear, reads: torch.Tensor,
                  writes: torch.Tensor, exact: bool = False) -> None:
        """1x1 convolutions in groups, and the linear layer."""
        groups = narrow.groups if isinstance(narrow, nn.Conv2d) else 1
        dense = torch.block_diag(*narrow.weight.flatten(1).chunk(groups))
        per_group = torch.ones(len(writes) // groups, len(reads) // groups)
        within = torch.block_diag(*[per_group] * groups)
        shares = within * (0.5 + torch.rand(within.shape, generator=self.generator))
        sums = torch.zeros(len(writes), dense.shape[1]).index_add_(1, reads, shares)
        weight = (dense[writes][:, reads] * shares / sums[:, reads])[within.bool()]
        if not exact:
            weight += self.noise * narrow.weight.std() * torch.randn(weight.shape, generator=self.generator)
        wide.weight.copy_(weight.view_as(wide.weight))
        if narrow.bias is not None:
            wide.bias.copy_(narrow.bias[writes])
