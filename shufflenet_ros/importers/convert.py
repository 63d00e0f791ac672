# SPDX-License-Identifier: Apache-2.0
"""Convert a state dict of a known layout into one of our networks; nothing may be missing or left over."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import torch

from shufflenet_ros.importers.infer import infer
from shufflenet_ros.importers.layouts import LAYOUTS, Layout
from shufflenet_ros.importers.weights import Tensors, Weights
from shufflenet_ros.zoo.backbone import Backbone
from shufflenet_ros.zoo.errors import ZooError
from shufflenet_ros.zoo.normalization import Normalization
from shufflenet_ros.zoo.registry import Config, build
from shufflenet_ros.zoo.shufflenet_v2 import REPEATS

_COUNTER = 'num_batches_tracked'
_SHOWN = 5
# Stage and unit, by the number of the unit through all stages.
_FLAT_UNITS = dict(enumerate((stage, unit) for stage, units in enumerate(REPEATS, 2)
                             for unit in range(units)))


@dataclass(frozen=True)
class ImportedNetwork:
    """Imported weights in our network.

    Attributes:
        model: ready for evaluation.
        layout: name of the layout, or `onnx`.
        normalization: of the input that the weights expect, channels R, G, B.
        crop: side of the center crop that the authors evaluate on, as a fraction of the short side.
        missing: our keys without weights in the file, random in `model`: none, or the linear layer and
            perhaps v2's last convolution.
        orders: stage -> channel i of our features is channel orders[i] in the source; no entry if the
            order is the same.
    """

    model: Backbone
    layout: str
    normalization: Normalization
    crop: float
    missing: frozenset[str] = frozenset()
    orders: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


def convert(state: Tensors, layout_name: str = '', bgr: bool | None = None) -> ImportedNetwork:
    """The network that a state dict describes, with its weights.

    Args:
        state: tensors from `state_of`.
        layout_name: '' recognizes the layout.
        bgr: whether the network takes BGR images; None for the layout's default.

    Raises:
        ZooError: names the tensors that are unknown, missing or of a wrong shape, and what was expected.
    """
    layout = _recognize(state, layout_name)
    tensors, sources = _rename(state, layout)
    config = replace(infer(layout.family, tensors), **layout.options)
    missing = _check(tensors, sources, layout, config)
    if layout.conv_bias:
        _fold_conv_biases(tensors)
    if not layout.fc_bias and 'fc.weight' in tensors:
        tensors['fc.bias'] = torch.zeros(config.classes)
    weights = Weights(tensors, config)
    if layout.step:
        weights = layout.step(weights)
    model = build(weights.config)
    ours = dict(weights.tensors)
    if layout.bgr if bgr is None else bgr:
        ours['stem.0.weight'] = ours['stem.0.weight'].flip(1)
    random = {key: value for key, value in model.state_dict().items()
              if key in missing or key.endswith(_COUNTER)}
    model.load_state_dict(random | ours)
    return ImportedNetwork(model.eval(), layout.name, layout.normalization, layout.crop, missing,
                           weights.orders)


def _recognize(state: Tensors, name: str) -> Layout:
    if name:
        if name not in LAYOUTS:
            raise ZooError(f'no layout {name!r}: expected one of {", ".join(LAYOUTS)}')
        return LAYOUTS[name]
    for layout in LAYOUTS.values():
        if layout.marker in state:
            return layout
    markers = ', '.join(f'{layout.marker} ({layout.name})' for layout in LAYOUTS.values())
    raise ZooError(f'the tensors {_some(state)} have an unknown layout: expected one of the keys {markers}; '
                   'convert the file to one of these layouts')


def _some(keys: Iterable[str]) -> str:
    names = list(keys)
    more = f' and {len(names) - _SHOWN} more' if len(names) > _SHOWN else ''
    return ', '.join(names[:_SHOWN]) + more


def _our_key(key: str, layout: Layout) -> str | None:
    for pattern, template in layout.rules:
        if found := re.fullmatch(pattern, key):
            groups = found.groupdict()
            stage = int(groups.get('stage', 0)) - layout.first_stage + 2
            unit = int(groups.get('unit', 0)) - layout.first_unit
            if 'flat' in groups:
                stage, unit = _FLAT_UNITS.get(int(groups['flat']), (0, 0))
            return template.format(**{**groups, 'stage': stage, 'unit': unit})
    return None


def _rename(state: Tensors, layout: Layout) -> tuple[Tensors, dict[str, str]]:
    """Tensors by our keys, and our key -> the file's. Without BN's counters, which inference ignores."""
    renamed = {key: _our_key(key, layout) for key in state if not key.endswith(_COUNTER)}
    if unknown := [key for key, ours in renamed.items() if ours is None]:
        raise ZooError(f'layout {layout.name} does not know {_some(unknown)}: expected only the network; '
                       'check --layout, or remove what does not belong to the network')
    sources = {ours: key for key, ours in renamed.items() if ours is not None}
    return {ours: state[key] for ours, key in sources.items()}, sources


def _fold_conv_biases(tensors: Tensors) -> None:
    """Fold each bias before BN into the mean that BN subtracts: mean' = mean - bias."""
    for key in [*tensors]:
        mean = key.removesuffix('.bias') + '_bn.running_mean'
        if mean in tensors:
            tensors[mean] = tensors[mean] - tensors.pop(key)


def _expected(layout: Layout, config: Config) -> dict[str, tuple[int, ...]]:
    """Our key -> shape of every tensor that a file of this layout has for the network."""
    with torch.device('meta'):  # no memory: the widths come from a file that nobody has checked yet
        model = build(config)
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()
              if not key.endswith(_COUNTER)}
    if layout.conv_bias:
        shapes |= {key.replace('_bn.running_mean', '.bias'): shape for key, shape in shapes.items()
                   if key.endswith('_bn.running_mean')}
    if not layout.fc_bias:
        del shapes['fc.bias']
    return shapes


def _check(tensors: Tensors, sources: Mapping[str, str], layout: Layout, config: Config) -> frozenset[str]:
    """Check the tensors against the network; returns our keys that a backbone without head may lack."""
    expected = _expected(layout, config)
    if left_over := sorted(tensors.keys() - expected.keys()):
        raise ZooError(f'{_some(sources[key] for key in left_over)}: no such part in the network of the other'
                       f' tensors; expected only a network of layout {layout.name}')
    head = {part: {key for key in expected if key.startswith(f'{part}.')} for part in ('fc', 'last')}
    allowed: set[str] = set()
    if head['fc'].isdisjoint(tensors):
        allowed |= head['fc'] | {'fc.bias'}
        if head['last'].isdisjoint(tensors):
            allowed |= head['last']
    if missing := sorted(expected.keys() - tensors.keys() - allowed):
        raise ZooError(f'nothing for {_some(missing)} (our names): expected every tensor of the network in '
                       f'layout {layout.name}; check that the file is complete and --layout right')
    for key, tensor in tensors.items():
        if tuple(tensor.shape) != expected[key]:
            raise ZooError(f'{sources[key]} has shape {list(tensor.shape)}: expected {list(expected[key])} to'
                           ' fit the other tensors; check that the file is complete and --layout right')
    return frozenset(allowed)
