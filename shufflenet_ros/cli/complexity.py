# SPDX-License-Identifier: Apache-2.0
"""`shufflenet-ros complexity`: count what networks cost. Without options, print the paper's Table 1."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from shufflenet_ros.core.console import say, say_json

if TYPE_CHECKING:
    from shufflenet_ros.zoo.complexity_tables import ComplexityTable

_NUMBER = frozenset('0123456789,.%M ')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    table = parser.add_mutually_exclusive_group()
    table.add_argument('--network', metavar='NAME', help='one network of the zoo, unit by unit')
    table.add_argument('--compare', action='store_true',
                       help='AlexNet, VGG-16, GoogLeNet, SqueezeNet, MobileNet and ResNets beside ours')
    table.add_argument('--units', action='store_true',
                       help="other units at ShuffleNet's cost, with the paper's errors (its Table 4)")
    table.add_argument('--formulas', nargs=5, type=int, metavar=('C', 'M', 'G', 'H', 'W'),
                       help="the paper's formulas for a unit: channels, bottleneck, groups, height, width")
    parser.add_argument('--px', type=int, help='side of the input, with --network (default: 224)')
    parser.add_argument('--classes', type=int, help='number of classes, with --network (default: 1000)')
    parser.add_argument('--json', action='store_true', help='one JSON object per line')


def _table(args: argparse.Namespace) -> 'ComplexityTable':
    from shufflenet_ros.zoo import complexity_tables as tables
    from shufflenet_ros.zoo.errors import ZooError

    options = {name: getattr(args, name) for name in ('px', 'classes') if getattr(args, name) is not None}
    if args.network:
        return tables.network(args.network, **options)
    if options:
        raise ZooError('--px and --classes: expected --network NAME with them')
    if args.formulas:
        return tables.formulas(*args.formulas)
    return tables.table_4() if args.units else tables.compare() if args.compare else tables.table_1()


def _aligned(cells: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lines with aligned columns; columns of numbers to the right."""
    columns = list(zip(*cells, strict=True))
    align = ['>' if all(map(_NUMBER.issuperset, column[1:])) else '<' for column in columns]
    widths = [max(map(len, column)) for column in columns]
    for row in cells:
        yield '  '.join(f'{cell:{a}{width}}' for cell, a, width in zip(row, align, widths)).rstrip()


def run(args: argparse.Namespace) -> int:
    """Print one table."""
    table = _table(args)
    if args.json:
        for record in table.records:
            say_json(record)
    else:
        say(table.title, '', *_aligned(table.cells), *([''] if table.notes else []), *table.notes)
    if table.missing:
        say(f'left out because their library is not installed: {", ".join(table.missing)}; in a checkout: '
            'pip install --no-deps -r scripts/requirements/compare.txt', to=sys.stderr)
    return 0
