# SPDX-License-Identifier: Apache-2.0
"""The tables of `shufflenet-ros complexity`, as records for programs and as text."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from shufflenet_ros.zoo.backbone import STAGES
from shufflenet_ros.zoo.baselines import BASELINES, Baseline
from shufflenet_ros.zoo.errors import ZooError
from shufflenet_ros.zoo.macs import KINDS, Cost, count, params_of, trace
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
# Our networks in the comparison with others, with the paper's millions.
OURS = {'shufflenet_v1_x0_5_g3': 38, 'shufflenet_v1_x1_0_g3': 137, 'shufflenet_v1_x2_0_g3': 524,
        'shufflenet_v2_x0_5': None, 'shufflenet_v2_x1_0': None}
REFERENCE = 'shufflenet_v1_x0_5_g3'
FORMULAS = {'ResNet': 'hw(2cm + 9m^2)', 'ResNeXt': 'hw(2cm + 9m^2/g)', 'ShuffleNet': 'hw(2cm/g + 9m)'}
PX_RANGE = (32, 4096)


@dataclass(frozen=True)
class ComplexityTable:
    """One result of the verb.

    Attributes:
        title: one line above the table.
        records: what `--json` prints, one object per line.
        cells: rows of text, the header first.
        notes: lines below the table.
        missing: networks that are left out because their library is not installed.
    """

    title: str
    records: Sequence[Mapping[str, Any]]
    cells: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    missing: Sequence[str] = ()


def _cells(records: Iterable[Mapping[str, Any]], columns: Mapping[str, str]) -> list[list[str]]:
    """A header, then a row for each record. `columns` maps a heading to the format of its cells."""
    return [list(columns), *([cell.format_map(record) for cell in columns.values()] for record in records)]


def _size(shape: Sequence[int]) -> str:
    return 'x'.join(map(str, shape))


def _cost(name: str) -> Cost:
    return count(build(NETWORKS[name].config))


def table_1() -> ComplexityTable:
    """Table 1 of the paper at 1x, for the networks of the registry, with exact integers."""
    names = {g: f'shufflenet_v1_x1_0_g{g}' for g in STAGE2_CHANNELS}
    networks = [build(NETWORKS[name].config) for name in names.values()]
    shapes = [{layer.name: layer.shape for layer in trace(network, torch.zeros(0, 3, 224, 224))}
              for network in networks]
    layers = [  # heading, module, kernel, stride, repeat
        ('Conv1', 'stem.0', '3x3', '2', '1'), ('MaxPool', 'stem.3', '3x3', '2', '1'),
        *((stage.capitalize(), stage, '', '2, then 1', f'1 + {len(getattr(networks[0], stage)) - 1}')
          for stage in STAGES), ('GlobalPool and FC', 'fc', '', '', '')]
    records = [{'network': name, 'groups': g, **asdict(_cost(name)), 'paper_mmacs': TABLE_1[g]}
               for g, name in names.items()]
    sums = {'parameters': 'params', 'MACs of convolutions': 'conv_macs', 'MACs with FC': 'macs',
            'paper, millions': 'paper_mmacs'}
    cells = [
        ['layer', 'output', 'kernel', 'stride', 'repeat', *(f'g={g}' for g in names)],
        *([heading, _size(shapes[0][module][1:]), *rest, *(str(shape[module][0]) for shape in shapes)]
          for heading, module, *rest in layers),
        *([heading, *[''] * 4, *(f'{record[key]:,}' for record in records)] for heading, key in sums.items())]
    table_5 = [asdict(_cost(name)) | {'paper_mmacs': millions} for name, millions in TABLE_5.items()]
    return ComplexityTable(
        'ShuffleNet v1 at 1x, 224x224 pixels (Table 1 of the paper); MACs: multiply-adds, one each',
        records, cells, [_counted('Table 1', records), _counted('Table 5 (1.5x 292M, 2x 524M)', table_5)])


def _counted(table: str, records: Sequence[Mapping[str, Any]]) -> str:
    """A note: which of the two counts a table of the paper has, in rounded millions."""
    conv, total = (sum(round(record[key] / 1e6) == record['paper_mmacs'] for record in records)
                   for key in ('conv_macs', 'macs'))
    counted = 'convolutions alone' if conv > total else 'convolutions and FC'
    return (f"{table} counted {counted}: of the paper's {len(records)} figures, the convolutions' MACs "
            f'round to {conv}, those with FC to {total}.')


def network(name: str, px: int = 224, classes: int = 1000) -> ComplexityTable:
    """One network of the registry: stem, units, last convolution and linear layer, and their sum.

    Raises:
        ZooError: an unknown network, or a number out of range.
    """
    if not PX_RANGE[0] <= px <= PX_RANGE[1]:
        raise ZooError(f'--px {px}: expected {PX_RANGE[0]} to {PX_RANGE[1]}')
    if classes < 1:
        raise ZooError(f'--classes {classes}: expected at least 1')
    model = build(config_of(name, classes))
    layers = trace(model, torch.zeros(0, 3, px, px))
    shapes = {layer.name: layer.shape for layer in layers}
    units = [f'{stage}.{i}' for stage in STAGES for i in range(len(getattr(model, stage)))]
    records: list[dict[str, Any]] = []
    for part in ('stem', *units, 'last', 'fc'):
        if params := params_of(model.get_submodule(part)):  # v1 has no last convolution
            macs = dict.fromkeys(KINDS, 0)
            for layer in layers:
                if layer.kind and f'{layer.name}.'.startswith(f'{part}.'):
                    macs[layer.kind] += layer.macs
            records.append({'network': name, 'part': part, 'output': shapes[part], 'params': params,
                            'macs': sum(macs.values()), **macs})
    sums = {key: sum(record[key] for record in records) for key in ('params', 'macs', *KINDS)}
    records.append(records[-1] | {'part': 'total'} | sums)
    cells = _cells(
        (record | {'size': _size(record['output']), 'share': record['macs'] / sums['macs']}
         for record in records),
        {'part': '{part}', 'output': '{size}', 'parameters': '{params:,}',
         **{kind.replace('_', ' '): f'{{{kind}:,}}' for kind in KINDS}, 'MACs': '{macs:,}',
         'share': '{share:.1%}'})
    entry = NETWORKS[name]
    notes = [entry.note] if entry.note else []
    if entry.error is not None:
        notes.append(f'ImageNet top-1 error at 224x224 pixels: {entry.error} % ({entry.source})')
    return ComplexityTable(f'{name} at {px}x{px} pixels and {classes} classes', records, cells, notes)


def table_4() -> ComplexityTable:
    """Table 4 of the paper: other units on ShuffleNet's skeleton, with our cost and its errors."""
    records = []
    for budget, names in TABLE_4.items():
        shufflenet = _cost(names['ShuffleNet']).macs
        for unit, name in names.items():
            cost, entry = _cost(name), NETWORKS[name]
            records.append({
                'budget_mmacs': budget, 'unit': unit, 'network': name, **asdict(cost),
                'macs_ratio': cost.macs / shufflenet, 'top1_error': entry.error,
                'source': entry.source, 'note': entry.note})
    return ComplexityTable(
        "Units at equal cost on ShuffleNet v1's skeleton (Table 4 of the paper)", records,
        _cells(records, {
            'MFLOPs': '{budget_mmacs}', 'unit': '{unit}', 'network': '{network}', 'parameters': '{params:,}',
            'MACs': '{macs:,}', 'to ShuffleNet': '{macs_ratio:.3f}', "paper's error": '{top1_error} %'}),
        ["The errors are the paper's, of its own networks. It gives Stage-4 widths only at 38 MFLOPs. The",
         'other widths, the stems and the stride-2 units are our choice, so that the cost is the budget.'])


def unit_macs(c: int, m: int, g: int, h: int, w: int) -> dict[str, int]:
    """Multiply-adds, one each, of a unit with stride 1 by the formulas of section 3.2 of the paper.

    ShuffleNet's formula is not for Stage 2's first unit, whose first 1x1 convolution is not grouped.

    Args:
        c: channels of input and output.
        m: channels of the bottleneck.
        g: groups, of ResNeXt's 3x3 convolution and ShuffleNet's 1x1 convolutions; divides c and m.
        h, w: height and width of the input.

    Returns:
        unit -> multiply-adds, for the units of FORMULAS.

    Raises:
        ZooError: a count below 1, or channels that g groups cannot share.
    """
    counts = {'c': c, 'm': m, 'h': h, 'w': w}
    for name, value in counts.items():
        if value < 1:
            raise ZooError(f'{name}={value}: expected at least 1')
    for name in ('c', 'm'):
        if g < 1 or counts[name] % g:
            raise ZooError(f'{name}={counts[name]}, g={g}: expected channels that g groups can share')
    return {'ResNet': h * w * (2 * c * m + 9 * m * m), 'ResNeXt': h * w * (2 * c * m + 9 * m * m // g),
            'ShuffleNet': h * w * (2 * c * m // g + 9 * m)}


def formulas(c: int, m: int, g: int, h: int, w: int) -> ComplexityTable:
    """The formulas and results of `unit_macs`; arguments and errors are the same."""
    costs = unit_macs(c, m, g, h, w)
    records: list[dict[str, Any]] = [
        {'unit': unit, 'formula': FORMULAS[unit], 'c': c, 'm': m, 'g': g, 'h': h, 'w': w, 'macs': macs,
         'macs_per_pixel': macs // (h * w)} for unit, macs in costs.items()]
    return ComplexityTable(
        f'A unit with stride 1: c={c}, m={m}, g={g}, h={h}, w={w} (section 3.2 of the paper)', records,
        _cells((record | {'ratio': record['macs'] / costs['ShuffleNet']} for record in records), {
            'unit': '{unit}', 'formula': '{formula}', 'MACs per pixel': '{macs_per_pixel:,}',
            'MACs': '{macs:,}', 'to ShuffleNet': '{ratio:.2f}'}))


def _baseline(name: str, paper_mmacs: int | None) -> Baseline:
    """A network of the registry, as a row beside the others."""
    entry = NETWORKS[name]
    return Baseline(name, __name__, lambda _: build(entry.config), entry.error, entry.source,
                    paper_mmacs, note=entry.note)


def compare() -> ComplexityTable:
    """Other people's networks beside ours, the most expensive last, with ratios to ShuffleNet 0.5x, g = 3."""
    reference = _cost(REFERENCE).macs
    records: list[dict[str, Any]] = []
    missing = []
    for row in (*(_baseline(name, paper) for name, paper in OURS.items()), *BASELINES):
        try:
            cost = row.cost()
        except ModuleNotFoundError:
            missing.append(row.name)
            continue
        records.append({'network': row.name, 'px': row.px, **asdict(cost),
                        'paper_mmacs': row.paper_mmacs, 'top1_error': row.error, 'source': row.source,
                        'macs_ratio': cost.macs / reference, 'note': row.note})
    records.sort(key=lambda record: int(record['macs']))
    cells = _cells(
        (record | {'paper': f'{record["paper_mmacs"]}M' if record['paper_mmacs'] else ''}
         for record in records),
        {'network': '{network}', 'px': '{px}', 'parameters': '{params:,}', 'MACs': '{macs:,}',
         'paper': '{paper}', 'to 0.5x g3': '{macs_ratio:.2f}', 'top-1 error': '{top1_error} %',
         'error from': '{source}'})
    alexnet = next(record['macs'] for record in records if record['network'] == 'AlexNet')
    notes = [f'AlexNet to ShuffleNet 0.5x g3: {alexnet:,} / {reference:,} = {alexnet / reference:.4f}; '
             f"the paper's 720M / 38M = {720 / 38:.2f}, given there as 18x.",
             *(f'{record["network"]}: {record["note"]}.' for record in records if record['note'])]
    return ComplexityTable(
        'Theoretical cost, convolutions and linear layers; "paper": millions in the ShuffleNet paper',
        records, cells, notes, missing)
