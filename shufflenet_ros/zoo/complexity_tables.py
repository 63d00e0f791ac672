"""What `shufflenet-ros complexity` shows: each view as records for machines and as a table for people."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from shufflenet_ros.zoo.backbone import STAGES
from shufflenet_ros.zoo.baselines import BASELINES, Baseline, cost_of
from shufflenet_ros.zoo.complexity import UnitCost, resnet_macs, resnext_macs, shufflenet_macs, unit_costs
from shufflenet_ros.zoo.errors import ZooError
from shufflenet_ros.zoo.macs import KINDS, Cost, count, trace
from shufflenet_ros.zoo.registry import NETWORKS, build, config_of
from shufflenet_ros.zoo.shufflenet_v1 import STAGE2_CHANNELS

# Complexities in millions as the paper prints them: Table 1, and the two larger networks of Table 5.
TABLE_1 = {1: 143, 2: 140, 3: 137, 4: 133, 8: 137}
TABLE_5 = {'shufflenet_v1_x1_5_g3': 292, 'shufflenet_v1_x2_0_g3': 524}
TABLE_4 = {
    140: {'VGG-like': 'vgg_like_140m', 'ResNet': 'resnet_like_140m', 'Xception-like': 'shufflenet_v1_x1_0_g1',
          'ResNeXt': 'resnext_like_140m', 'ShuffleNet': 'shufflenet_v1_x1_0_g8'},
    38: {'ResNet': 'resnet_like_38m', 'Xception-like': 'shufflenet_v1_x0_5_g1',
         'ResNeXt': 'resnext_like_38m', 'ShuffleNet': 'shufflenet_v1_x0_5_g4'},
    13: {'ResNet': 'resnet_like_13m', 'Xception-like': 'shufflenet_v1_x0_25_g1',
         'ResNeXt': 'resnext_like_13m', 'ShuffleNet': 'shufflenet_v1_x0_25_g8'},
}
# Rows of ours beside other people's networks, with the paper's millions.
OURS = {'shufflenet_v1_x0_5_g3': 38, 'shufflenet_v1_x1_0_g3': 137, 'shufflenet_v1_x2_0_g3': 524,
        'shufflenet_v2_x0_5': None, 'shufflenet_v2_x1_0': None}
REFERENCE = 'shufflenet_v1_x0_5_g3'
PX_RANGE = (32, 4096)


@dataclass(frozen=True)
class View:
    """One answer of the verb.

    Attributes:
        title: one line above the table.
        records: what `--json` prints, one object a line.
        table: rows of cells, the header first.
        notes: lines below the table.
        left_out: names of networks whose library is not installed.
    """

    title: str
    records: Sequence[dict[str, Any]]
    table: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    left_out: Sequence[str] = ()


def _size(shape: Sequence[int]) -> str:
    return 'x'.join(map(str, shape))


def _cost(name: str) -> Cost:
    return count(build(NETWORKS[name].config))


def _fields(cost: Cost) -> dict[str, int]:
    """With the names that models/networks.json has."""
    return {'params': cost.params, 'macs': cost.total_macs, 'conv_macs': cost.conv_macs}


def table_1() -> View:
    """Table 1 of the paper at 1x, as the networks of the registry have it, with exact integers."""
    names = {g: f'shufflenet_v1_x1_0_g{g}' for g in STAGE2_CHANNELS}
    networks = {g: build(NETWORKS[name].config) for g, name in names.items()}
    costs = {g: count(network) for g, network in networks.items()}
    shapes = {g: {layer.name: layer.shape for layer in trace(network, torch.zeros(0, 3, 224, 224))}
              for g, network in networks.items()}

    def layer(name: str, module: str, kernel: str = '', stride: str = '', repeat: str = '') -> list[str]:
        """Channels by group count of what a module gives, and its size."""
        channels = [str(shapes[g][module][0]) for g in names]
        return [name, _size(shapes[1][module][1:]), kernel, stride, repeat, *channels]

    def stage(name: str) -> list[str]:
        return layer(name.capitalize(), name, '', '2, then 1', f'1 + {len(getattr(networks[1], name)) - 1}')

    def sums(name: str, values: Iterable[int]) -> list[str]:
        return [name, *[''] * 4, *(f'{value:,}' for value in values)]

    table = [
        ['layer', 'output', 'kernel', 'stride', 'repeat', *(f'g={g}' for g in names)],
        layer('Conv1', 'stem.0', '3x3', '2', '1'), layer('MaxPool', 'stem.3', '3x3', '2', '1'),
        *map(stage, STAGES), layer('GlobalPool and FC', 'fc'),
        sums('parameters', (cost.params for cost in costs.values())),
        sums('MACs of convolutions', (cost.conv_macs for cost in costs.values())),
        sums('MACs with FC', (cost.total_macs for cost in costs.values())),
        sums('paper, millions', TABLE_1.values()),
    ]
    records = [{'network': name, 'groups': g, **_fields(costs[g]), 'paper_mmacs': TABLE_1[g]}
               for g, name in names.items()]
    notes = [_finding('Table 1', {names[g]: millions for g, millions in TABLE_1.items()}),
             _finding('Table 5 (1.5x 292M, 2x 524M)', TABLE_5)]
    return View('ShuffleNet v1 at 1x, 224x224 pixels (Table 1 of the paper); MACs: multiply-adds, one each',
                records, table, notes)


def _finding(table: str, millions: dict[str, int]) -> str:
    """Which of the two counts a table of the paper gives, rounded to millions."""
    costs = {name: _cost(name) for name in millions}
    conv = sum(round(costs[name].conv_macs / 1e6) == m for name, m in millions.items())
    total = sum(round(costs[name].total_macs / 1e6) == m for name, m in millions.items())
    counted = 'convolutions alone' if conv > total else 'convolutions and FC'
    return (f"{table} counted {counted}: of the paper's {len(millions)} figures, the convolutions' MACs "
            f'round to {conv}, those with FC to {total}.')


def network(name: str, px: int = 224, classes: int = 1000) -> View:
    """One network of the registry, unit by unit.

    Raises:
        ZooError: no such network, or a size that no network of the zoo takes.
    """
    if not PX_RANGE[0] <= px <= PX_RANGE[1]:
        raise ZooError(f'--px {px}: expected {PX_RANGE[0]} to {PX_RANGE[1]}')
    if classes < 1:
        raise ZooError(f'--classes {classes}: expected at least 1')
    parts = unit_costs(build(config_of(name, classes)), px)
    whole = UnitCost('total', parts[-1].shape, sum(part.params for part in parts),
                 {kind: sum(part.macs[kind] for part in parts) for kind in KINDS})
    parts = (*parts, whole)
    records = [{'network': name, 'part': part.name, 'output': part.shape, 'params': part.params,
                'macs': part.total_macs, **part.macs} for part in parts]
    table = [['part', 'output', 'parameters', *(kind.replace('_', ' ') for kind in KINDS), 'MACs', 'share']]
    table += [
        [part.name, _size(part.shape), f'{part.params:,}', *(f'{part.macs[kind]:,}' for kind in KINDS),
         f'{part.total_macs:,}', f'{part.total_macs / whole.total_macs:.1%}'] for part in parts]
    variant = NETWORKS[name]
    notes = [variant.note] if variant.note else []
    if variant.error is not None:
        notes.append(f'ImageNet top-1 error at 224x224 pixels: {variant.error} % ({variant.source})')
    return View(f'{name} at {px}x{px} pixels and {classes} classes', records, table, notes)


def units() -> View:
    """Table 4 of the paper: other units on ShuffleNet's skeleton, our networks' cost and its errors."""
    records = []
    for budget, names in TABLE_4.items():
        ours = _cost(names['ShuffleNet']).total_macs
        for unit, name in names.items():
            cost = _cost(name)
            records.append({
                'budget_mmacs': budget, 'unit': unit, 'network': name, **_fields(cost),
                'macs_to_shufflenet': cost.total_macs / ours, 'top1_error': NETWORKS[name].error,
                'source': NETWORKS[name].source, 'note': NETWORKS[name].note})
    table = [['MFLOPs', 'unit', 'network', 'parameters', 'MACs', 'to ShuffleNet', "paper's error"]]
    table += [[str(r['budget_mmacs']), r['unit'], r['network'], f'{r["params"]:,}', f'{r["macs"]:,}',
               f'{r["macs_to_shufflenet"]:.3f}', f'{r["top1_error"]} %'] for r in records]
    return View(
        "Units at equal cost on ShuffleNet v1's skeleton (Table 4 of the paper)", records, table,
        ["The errors are the paper's, of its own networks. It gives Stage-4 widths at 38 MFLOPs alone; the",
         'other widths, the stems and the stride-2 units are our choice, so that the cost is the budget.'])


def formulas(c: int, m: int, g: int, h: int, w: int) -> View:
    """The three formulas of section 3.2 for an input of c x h x w, m bottleneck channels and g groups.

    Raises:
        ZooError: a count below 1, or channels that g groups cannot share.
    """
    values = {
        'ResNet': ('hw(2cm + 9m^2)', resnet_macs(c, m, h, w)),
        'ResNeXt': ('hw(2cm + 9m^2/g)', resnext_macs(c, m, g, h, w)),
        'ShuffleNet': ('hw(2cm/g + 9m)', shufflenet_macs(c, m, g, h, w)),
    }
    ours = values['ShuffleNet'][1]
    records = [{'unit': unit, 'formula': formula, 'c': c, 'm': m, 'g': g, 'h': h, 'w': w, 'macs': macs,
                'macs_per_pixel': macs // (h * w)} for unit, (formula, macs) in values.items()]
    table = [['unit', 'formula', 'MACs per pixel', 'MACs', 'to ShuffleNet']]
    table += [[r['unit'], r['formula'], f'{r["macs_per_pixel"]:,}', f'{r["macs"]:,}',
               f'{r["macs"] / ours:.2f}'] for r in records]
    return View(f'A unit with stride 1: c={c}, m={m}, g={g}, h={h}, w={w} (section 3.2 of the paper)',
                records, table)


def _compared(reference: int) -> Iterator[dict[str, Any] | Baseline]:
    """A record for each network that can be counted here, and the baselines that cannot."""
    def record(name: str, px: int, cost: Cost, error: float | None, source: str, paper: int | None,
               note: str) -> dict[str, Any]:
        return {'network': name, 'px': px, **_fields(cost), 'paper_mmacs': paper, 'top1_error': error,
                'source': source, 'macs_to_reference': cost.total_macs / reference, 'note': note}

    for name, paper in OURS.items():
        variant = NETWORKS[name]
        yield record(name, 224, _cost(name), variant.error, variant.source, paper, variant.note)
    for b in BASELINES:
        try:
            yield record(b.name, b.px, cost_of(b), b.error, b.source, b.paper_mmacs, b.note)
        except ModuleNotFoundError:
            yield b


def compare() -> View:
    """Other people's networks beside ours, dearest last; the ratios are to ShuffleNet 0.5x with g = 3."""
    reference = _cost(REFERENCE).total_macs
    rows = list(_compared(reference))
    records = sorted((r for r in rows if isinstance(r, dict)), key=lambda r: int(r['macs']))
    table = [['network', 'px', 'parameters', 'MACs', 'paper', 'to 0.5x g3', 'top-1 error', 'error from']]
    table += [[r['network'], str(r['px']), f'{r["params"]:,}', f'{r["macs"]:,}',
               f'{r["paper_mmacs"]}M' if r['paper_mmacs'] else '', f'{r["macs_to_reference"]:.2f}',
               f'{r["top1_error"]} %', r['source']] for r in records]
    alexnet = next(r['macs'] for r in records if r['network'] == 'AlexNet')
    notes = [f'AlexNet to ShuffleNet 0.5x g3: {alexnet:,} / {reference:,} = {alexnet / reference:.4f}; '
             f"the paper's 720M / 38M = {720 / 38:.2f}, which it calls 18x.",
             *(f'{r["network"]}: {r["note"]}.' for r in records if r['note'])]
    return View('Theoretical cost, convolutions and linear layers; "paper": millions in the ShuffleNet paper',
                records, table, notes, [row.name for row in rows if isinstance(row, Baseline)])
