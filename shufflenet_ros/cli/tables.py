# SPDX-License-Identifier: Apache-2.0
"""Text tables: aligned columns, and the tables of `models list`."""

from collections.abc import Iterator, Sequence
from typing import Any

from shufflenet_ros.bundles.listing import KINDS, Row

_NUMBER = frozenset('0123456789,.%M ')
_COLUMNS = ('params', 'M MACs', 'published top-1 error', 'measured top-1', 'weights')
_LEGEND = (
    'published: ImageNet validation; measured: on the data of each bundle (models show NAME says which)',
    "params and M MACs of a bundle: at its own classes and input size, else at ImageNet's",
)


def aligned(cells: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lines with aligned columns, below the header in the first row; columns of numbers to the right."""
    columns = list(zip(*cells, strict=True))
    align = ['>' if all(map(_NUMBER.issuperset, column[1:])) else '<' for column in columns]
    widths = [max(map(len, column)) for column in columns]
    for row in cells:
        yield '  '.join(f'{cell:{a}{width}}' for cell, a, width in zip(row, align, widths)).rstrip()


def model_table(rows: list[Row]) -> Iterator[str]:
    """The lines of one table for each kind, then what the columns mean."""
    for kind in KINDS:
        chosen = [row for row in rows if row['kind'] == kind]
        if chosen:
            yield from aligned([(kind, *_COLUMNS), *map(_cells, chosen)])
            if kind == 'bundle':
                yield from (f'{row["name"]}: {row["note"]}' for row in chosen if row['note'])
            yield ''
    yield from _LEGEND if rows else ()


def _cells(row: Row) -> tuple[str, ...]:
    if row['error']:
        return (row['name'] or row['path'], '', '', '', '', f'cannot be used: {row["error"]}')
    top1_error = (row['published'] or {}).get('top1_error')
    weights, measured = row['weights'], row['measured'] or {}
    return (
        row['name'], '' if row['params'] is None else f'{row["params"]:,}',
        '' if row['macs'] is None else f'{row["macs"] / 1e6:.1f}',
        '' if top1_error is None else f'{top1_error:.2f} %',
        ', '.join(filter(None, map(_top1, measured.values() if row['kind'] == 'network' else [measured]))),
        ', '.join(weights) if isinstance(weights, list) else weights or '',
    )


def _top1(metrics: Any) -> str:
    value = metrics.get('top1') if isinstance(metrics, dict) else None
    return f'{100 * value:.1f} %' if isinstance(value, int | float) else ''
