"""The rows of `models list` as tables that a person reads."""

from collections.abc import Iterator
from typing import Any

from shufflenet_ros.bundles.listing import KINDS, Row

COLUMNS = ('params', 'M MACs', 'published top-1 error', 'measured top-1', 'weights')
LEGEND = (
    'published: ImageNet validation; measured: on the data of each bundle (models show NAME says which)',
    "params and M MACs of a bundle: at its own classes and input size, else at ImageNet's",
)
RIGHT = frozenset({1, 2, 3, 4})


def table(rows: list[Row]) -> Iterator[str]:
    """Lines: a table a kind, columns under each other, weights last because they are long; what they mean."""
    for kind in KINDS:
        chosen = [row for row in rows if row['kind'] == kind]
        if chosen:
            yield from _aligned([(kind, *COLUMNS), *map(_cells, chosen)])
            if kind == 'bundle':
                yield from (f'{row["name"]}: {row["note"]}' for row in chosen if row['note'])
            yield ''
    yield from LEGEND if rows else ()


def _aligned(cells: list[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]) - 1)]
    for row in cells:
        padded = [text.rjust(width) if i in RIGHT else text.ljust(width)
                  for i, (text, width) in enumerate(zip(row[:-1], widths, strict=True))]
        yield '  '.join([*padded, row[-1]]).rstrip()


def _cells(row: Row) -> tuple[str, ...]:
    if row['error']:
        return (row['name'] or row['path'], '', '', '', '', f'cannot be used: {row["error"]}')
    published = row['published'] or {}
    weights = row['weights']
    return (
        row['name'], '' if row['params'] is None else f'{row["params"]:,}',
        '' if row['macs'] is None else f'{row["macs"] / 1e6:.1f}',
        f'{published["top1_error"]:.2f} %' if 'top1_error' in published else '',
        ', '.join(_measured(row)), ', '.join(weights) if isinstance(weights, list) else weights or '',
    )


def _measured(row: Row) -> list[str]:
    measured = row['measured'] or {}
    return [text for metrics in (measured.values() if row['kind'] == 'network' else [measured])
            if (text := _top1(metrics))]


def _top1(metrics: Any) -> str:
    value = metrics.get('top1') if isinstance(metrics, dict) else None
    return f'{100 * value:.1f} %' if isinstance(value, int | float) else ''
