# SPDX-License-Identifier: Apache-2.0
"""The rows of `models list` as text tables."""

from collections.abc import Iterator
from typing import Any

from shufflenet_ros.bundles.listing import KINDS, Row

COLUMNS = ('params', 'M MACs', 'published top-1 error', 'measured top-1', 'weights')
LEGEND = (
    'published: ImageNet validation; measured: on the data of each bundle (models show NAME says which)',
    "params and M MACs of a bundle: at its own classes and input size, else at ImageNet's",
)


def table(rows: list[Row]) -> Iterator[str]:
    """The lines of one table for each kind, then what the columns mean."""
    for kind in KINDS:
        chosen = [row for row in rows if row['kind'] == kind]
        if chosen:
            yield from _aligned([(kind, *COLUMNS), *map(_cells, chosen)])
            if kind == 'bundle':
                yield from (f'{row["name"]}: {row["note"]}' for row in chosen if row['note'])
            yield ''
    yield from LEGEND if rows else ()


def _aligned(cells: list[tuple[str, ...]]) -> Iterator[str]:
    """Names to the left, numbers to the right; weights last, because they are long."""
    name, *widths = (max(map(len, column)) for column in [*zip(*cells, strict=True)][:-1])
    for row in cells:
        numbers = [text.rjust(width) for text, width in zip(row[1:], widths)]
        yield '  '.join([row[0].ljust(name), *numbers, row[-1]]).rstrip()


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
