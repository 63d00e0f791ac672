# SPDX-License-Identifier: Apache-2.0
"""Count every group count and width, native and in onnxruntime (`python -m benchmarks.arm.table`).

Writes docs/arm.json and prints a table. Takes some minutes; needs torch and onnx.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.arm.count import PRECISION, measure
from benchmarks.arm.native_count import compiler_version
from benchmarks.arm.reference import ALEXNETS
from benchmarks.arm.subject import Subject, reference
from shufflenet_ros.bundles.variants import PRECISIONS
from shufflenet_ros.core.files import write_whole

CPU = 'cortex-a76'
OUT = Path(__file__).resolve().parents[2] / 'docs' / 'arm.json'
NETWORKS = (
    *(f'shufflenet_v1_x0_5_g{groups}' for groups in (1, 2, 3, 4, 8)),
    *(f'shufflenet_v1_x1_0_g{groups}' for groups in (1, 2, 3, 4, 8)),
    'shufflenet_v1_x0_25_g3', 'shufflenet_v1_x1_5_g3', 'shufflenet_v1_x2_0_g3',
    'shufflenet_v2_x0_5', 'shufflenet_v2_x1_0', 'shufflenet_v2_x1_5', 'shufflenet_v2_x2_0',
    *ALEXNETS,
)


def row(subject: Subject) -> dict[str, Any]:
    """Return the counts of onnxruntime and, if they run the network, of the native kernels, with errors."""
    onnxruntime = measure(subject, 'onnxruntime', CPU)[PRECISION]
    native = measure(subject, 'native', CPU) if subject.precisions else {}
    return {'onnxruntime': {PRECISION: onnxruntime.instructions},
            'native': {precision: count.instructions for precision, count in native.items()},
            'error': {precision: float(f'{count.error:.2g}') for precision, count in native.items()}}


def lines(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the table's lines: million instructions, and how many times fewer than onnxruntime."""
    titles = ''.join(f'{precision + " native":>20}' for precision in PRECISIONS)
    table = [f'{"million instructions, " + CPU:<34}{"onnxruntime fp32":>17}{titles}']
    for name, counts in rows.items():
        onnxruntime = counts['onnxruntime'][PRECISION]
        cells = [f'{count / 1e6:.2f} ({onnxruntime / count:.2f}x)' for count in counts['native'].values()]
        table.append(f'{name:<34}{onnxruntime / 1e6:>17.2f}' + ''.join(f'{cell:>20}' for cell in cells))
    return table


def main(argv: Sequence[str] | None = None) -> int:
    """Count everything, print and write it."""
    parser = argparse.ArgumentParser(prog='python -m benchmarks.arm.table', description=__doc__)
    parser.add_argument('names', nargs='*', default=NETWORKS, metavar='NAME', help='only these networks')
    parser.add_argument('--out', type=Path, default=OUT)
    args = parser.parse_args(argv)
    rows = {}
    for name in args.names:
        rows[name] = row(reference(name))
        print('\n'.join(lines({name: rows[name]})), file=sys.stderr, flush=True)
    report = {'cpu': CPU, 'compiler': compiler_version(), 'networks': rows}
    write_whole(args.out, (json.dumps(report, indent=1) + '\n').encode())
    print('\n'.join(lines(rows)))
    return 0


if __name__ == '__main__':
    sys.exit(main())
