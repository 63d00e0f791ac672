"""A state dict of a known layout into one of our networks; nothing missing, nothing left over."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from shufflenet_ros.importers.infer import infer
from shufflenet_ros.importers.layouts import LAYOUTS, Layout
from shufflenet_ros.importers.weights import Tensors, Weights
from shufflenet_ros.zoo.backbone import Backbone
from shufflenet_ros.zoo.errors import ZooError
from shufflenet_ros.zoo.normalization import Normalization
from shufflenet_ros.zoo.registry import Config, build

_REPEATS = (4, 8, 4)
_COUNTER = 'num_batches_tracked'
_SHOWN = 5


@dataclass(frozen=True)
class ImportedNetwork:
    """Somebody's weights in our network.

    Attributes:
        model: ready for evaluation.
        layout: name of the layout, or `onnx`.
        by: what the network takes, channels R, G, B.
        crop: fraction of the short side that its authors evaluate on.
        missing: our keys that the file has nothing for, which are random in `model`: empty, or the linear
            layer and perhaps v2's last convolution.
        orders: stage -> ours channel i of its features is theirs orders[i]; no entry where they agree.
    """

    model: Backbone
    layout: str
    by: Normalization
    crop: float
    missing: frozenset[str] = frozenset()
    orders: Mapping[str, tuple[int, ...]] | None = None


def recognize(state: Tensors, name: str = '') -> Layout:
    """The layout of a state dict.

    Raises:
        ZooError: no such layout, or no key by which one is known.
    """
    if name:
        if name not in LAYOUTS:
            raise ZooError(f'there is no layout {name!r}: expected one of {", ".join(LAYOUTS)}')
        return LAYOUTS[name]
    for layout in LAYOUTS.values():
        if layout.marker in state:
            return layout
    markers = ', '.join(f'{layout.marker} ({layout.name})' for layout in LAYOUTS.values())
    raise ZooError(f'the tensors {_some(state)} are of no layout that we know: expected one of the keys '
                   f'{markers}; convert the file to one of these layouts')


def convert(state: Tensors, layout_name: str = '', bgr: bool | None = None) -> ImportedNetwork:
    """The network that a state dict describes, with its weights.

    Args:
        state: plain tensors, as `read_state` gives them.
        layout_name: a layout; '' recognizes it.
        bgr: whether the weights take blue first; None leaves it to the layout.

    Raises:
        ZooError: names the tensors that are unknown, missing or of a wrong shape, and what was expected.
    """
    layout = recognize(state, layout_name)
    tensors, sources = _rename(state, layout)
    config = replace(infer(layout.family, tensors), **layout.options)
    missing = _check(tensors, sources, layout, config)
    weights = Weights(tensors, config)
    for step in layout.steps:
        weights = step(weights)
    model = build(weights.config)
    ours = dict(weights.tensors)
    if layout.bgr if bgr is None else bgr:
        ours['stem.0.weight'] = ours['stem.0.weight'].flip(1)
    own = {key: value for key, value in model.state_dict().items()
           if key in missing or key.endswith(_COUNTER)}
    model.load_state_dict(own | ours)
    return ImportedNetwork(model.eval(), layout.name, layout.by, layout.crop, missing, weights.orders)


def _some(keys: Mapping[str, object] | list[str]) -> str:
    names = list(keys)
    more = f' and {len(names) - _SHOWN} more' if len(names) > _SHOWN else ''
    return ', '.join(names[:_SHOWN]) + more


def _our_key(key: str, layout: Layout) -> str | None:
    for pattern, template in layout.rules:
        if found := re.fullmatch(pattern, key):
            values: dict[str, object] = dict(found.groupdict())
            if 'flat' in values:
                values |= _place(int(found['flat']))
            elif 'unit' in values:
                values |= {'stage': int(found['stage']) - layout.first_stage + 2,
                           'unit': int(found['unit']) - layout.first_unit}
            return template.format(**values)
    return None


def _place(flat: int) -> dict[str, object]:
    """Stage and unit of a unit that is counted through all stages."""
    for stage, units in enumerate(_REPEATS, 2):
        if flat < units:
            return {'stage': stage, 'unit': flat}
        flat -= units
    return {'stage': 5, 'unit': flat}


def _rename(state: Tensors, layout: Layout) -> tuple[Tensors, dict[str, str]]:
    """Tensors under our keys, and our key -> theirs. BN's counters are left out: they change no answer."""
    tensors: Tensors = {}
    sources: dict[str, str] = {}
    unknown = []
    for key, tensor in state.items():
        if key.endswith(_COUNTER):
            continue
        ours = _our_key(key, layout)
        if ours is None:
            unknown.append(key)
        else:
            tensors[ours], sources[ours] = tensor, key
    if unknown:
        raise ZooError(f'layout {layout.name} has no place for {_some(unknown)}: expected the plain network '
                       'alone; check --layout, or remove what does not belong to the network')
    return tensors, sources


def _expected(layout: Layout, config: Config) -> dict[str, tuple[int, ...]]:
    """Our key -> shape of all that a file of this layout holds for the network."""
    with torch.device('meta'):
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
    """Hold the tensors to the network; our keys that a backbone without head may lack."""
    expected = _expected(layout, config)
    left_over = sorted(tensors.keys() - expected.keys())
    if left_over:
        raise ZooError(f'{_some([sources[key] for key in left_over])}: the network that the other tensors '
                       f'tell has no such part; expected a network of layout {layout.name} and no more')
    missing = sorted(expected.keys() - tensors.keys())
    head = {part: {key for key in expected if key.startswith(f'{part}.')} for part in ('fc', 'last')}
    allowed: set[str] = set()
    if head['fc'].isdisjoint(tensors):
        allowed |= head['fc'] | {'fc.bias'}
        if head['last'].isdisjoint(tensors):
            allowed |= head['last']
    if lacking := [key for key in missing if key not in allowed]:
        raise ZooError(f'nothing for {_some(lacking)} (our names): expected every tensor of the network in '
                       f'layout {layout.name}; check that the file is complete and that --layout is right')
    for key, tensor in tensors.items():
        if tuple(tensor.shape) != expected[key]:
            raise ZooError(f'{sources[key]} has shape {list(tensor.shape)}: expected {list(expected[key])} '
                           'beside the other tensors; check that the file is whole and --layout right')
    return frozenset(allowed)
