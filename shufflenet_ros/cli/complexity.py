# SPDX-License-Identifier: Apache-2.0
"""Count parameters and multiply-adds of networks. Without options, print the paper's Table 1."""

import argparse
import sys

from shufflenet_ros.cli.tables import aligned
from shufflenet_ros.core.console import say, say_json
from shufflenet_ros.zoo.errors import ZooError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add = parser.add_mutually_exclusive_group().add_argument
    add('--network', metavar='NAME', help='one network of the zoo, unit by unit')
    add('--compare', action='store_true',
        help='AlexNet, VGG-16, GoogLeNet, SqueezeNet, MobileNet and ResNets beside ours')
    add('--units', action='store_true',
        help="other units at ShuffleNet's cost, with the paper's errors (its Table 4)")
    add('--formulas', nargs=5, type=int, metavar=('C', 'M', 'G', 'H', 'W'),
        help="the paper's formulas for a unit: channels, bottleneck, groups, height, width")
    parser.add_argument('--px', type=int, help='side of the input, with --network (default: 224)')
    parser.add_argument('--classes', type=int, help='number of classes, with --network (default: 1000)')
    parser.add_argument('--json', action='store_true', help='one JSON object per line')


def run(args: argparse.Namespace) -> int:
    """Print one table."""
    # Imported here so that --help does not load torch.
    from shufflenet_ros.zoo import complexity as tables

    options = {name: getattr(args, name) for name in ('px', 'classes') if getattr(args, name) is not None}
    if args.network:
        table = tables.network(args.network, **options)
    elif options:
        raise ZooError('--px and --classes: expected --network NAME with them')
    elif args.formulas:
        table = tables.formulas(*args.formulas)
    else:
        table = tables.table_4() if args.units else tables.compare() if args.compare else tables.table_1()
    if args.json:
        for record in table.records:
            say_json(record)
    else:
        say(table.title, '', *aligned(table.cells), *([''] if table.notes else []), *table.notes)
    if table.missing:
        say(f'left out because their library is not installed: {", ".join(table.missing)}; in a checkout: '
            'pip install --no-deps -r scripts/requirements/compare.txt', to=sys.stderr)
    return 0
