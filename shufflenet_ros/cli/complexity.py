"""`shufflenet-ros complexity`: what networks cost, counted; without options the paper's Table 1."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from shufflenet_ros.core.console import say, say_json

NUMBER = frozenset('0123456789,.%M')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    view = parser.add_mutually_exclusive_group()
    view.add_argument('--network', metavar='NAME', help='one network of the zoo, unit by unit')
    view.add_argument('--compare', action='store_true',
                      help='AlexNet, VGG-16, GoogLeNet, SqueezeNet, MobileNet and ResNets beside ours')
    view.add_argument('--units', action='store_true',
                      help="other units at ShuffleNet's cost, with the paper's errors (its Table 4)")
    view.add_argument('--formulas', nargs=5, type=int, metavar=('C', 'M', 'G', 'H', 'W'),
                      help="the paper's formulas for a unit: channels, bottleneck, groups, height, width")
    parser.add_argument('--px', type=int, help='side of the input, with --network (default: 224)')
    parser.add_argument('--classes', type=int, help='length of the logits, with --network (default: 1000)')
    parser.add_argument('--json', action='store_true', help='one JSON object a line')


def aligned(table: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lines of a table with its columns under each other, columns of numbers to the right."""
    columns = list(zip(*table, strict=True))
    right = [all(NUMBER.issuperset(cell.replace(' ', '')) for cell in column[1:]) for column in columns]
    widths = [max(map(len, column)) for column in columns]
    for row in table:
        yield '  '.join(cell.rjust(width) if to_right else cell.ljust(width)
                        for cell, width, to_right in zip(row, widths, right, strict=True)).rstrip()


def _view(args: argparse.Namespace) -> Any:
    from shufflenet_ros.zoo import complexity_tables as views
    from shufflenet_ros.zoo.errors import ZooError

    if args.network:
        return views.network(args.network, 224 if args.px is None else args.px,
                             1000 if args.classes is None else args.classes)
    if args.px is not None or args.classes is not None:
        raise ZooError('--px and --classes: expected --network NAME with them')
    if args.formulas:
        return views.formulas(*args.formulas)
    return views.units() if args.units else views.compare() if args.compare else views.table_1()


def run(args: argparse.Namespace) -> int:
    """Print one view."""
    view = _view(args)
    if args.json:
        for record in view.records:
            say_json(record)
    else:
        say(view.title, '', *aligned(view.table), *([''] if view.notes else []), *view.notes)
    if view.left_out:
        say(f'left out, as their library is not installed: {", ".join(view.left_out)}; in a checkout: '
            'pip install --no-deps -r scripts/requirements/compare.txt', to=sys.stderr)
    return 0
