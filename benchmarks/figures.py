# SPDX-License-Identifier: Apache-2.0
"""`make figures`: run every measurement, print the figures, write docs/figures.json.

A measurement that fails is written with its error, and the others still run.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from shufflenet_ros.core.files import write_whole

ROOT = Path(__file__).resolve().parents[1]

# name -> module and function without arguments that returns figures by name
FIGURES = {
    'model': ('benchmarks.model', 'measure'),
    'native': ('benchmarks.native', 'measure'),
    'auto': ('benchmarks.native', 'measure_auto'),
    'decode': ('benchmarks.decode', 'measure'),
    'receive': ('benchmarks.receive', 'measure'),
    'idle': ('benchmarks.node', 'measure_idle'),
    'live': ('benchmarks.node', 'measure_live'),
    'overload': ('benchmarks.overload', 'measure'),
}


def provenance(**versions: str) -> dict[str, Any]:
    """Return the date, commit, machine and versions of a measurement."""
    now = datetime.datetime.now(datetime.timezone.utc)
    machine = {'cpu': _cpu_model(), 'cores': os.cpu_count(), 'architecture': platform.machine(),
               'system': platform.platform(terse=True),
               'load_average': [round(load, 2) for load in os.getloadavg()]}
    try:
        middleware = importlib.import_module('rclpy.utilities').get_rmw_implementation_identifier()
    except ImportError:
        middleware = 'not installed'
    return {'date': now.isoformat(timespec='seconds'), 'commit': _commit(), 'machine': machine, 'versions': {
        'python': platform.python_version(), 'numpy': _version('numpy'),
        'opencv': _version('opencv-python-headless', 'opencv-python'), 'onnxruntime': _version('onnxruntime'),
        'rclpy': _version('rclpy'), 'rmw': middleware, **versions}}


def _cpu_model() -> str:
    for line in Path('/proc/cpuinfo').read_text().splitlines():
        key, _, name = (part.strip() for part in line.partition(':'))
        if key.lower() in ('model name', 'hardware', 'model') and name and not name.isdigit():
            return name
    return platform.processor() or 'unknown'


def _version(*distributions: str) -> str:
    for distribution in distributions:
        with suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(distribution)
    return 'not installed'


def _commit() -> str:
    """Return the commit, with a + if tracked files outside docs/ are modified."""
    def git(*words: str) -> str:
        return subprocess.run(['git', *words], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    changed = git('status', '--porcelain', '--untracked-files=no', '--', '.', ':!docs')
    return git('rev-parse', 'HEAD') + ('+' if changed else '')


def measure(name: str) -> Mapping[str, Any]:
    """Return the figures of one measurement, or its error."""
    module, function = FIGURES[name]
    try:
        figures: Mapping[str, Any] = getattr(importlib.import_module(module), function)()
    except Exception as error:
        return {'error': f'{type(error).__name__}: {error}'}
    return figures


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(prog='python -m benchmarks.figures', description=__doc__)
    parser.add_argument('names', nargs='*', default=list(FIGURES), metavar='NAME',
                        help=f'only these of: {", ".join(FIGURES)}')
    parser.add_argument('--out', type=Path, default=ROOT / 'docs' / 'figures.json')
    args = parser.parse_args(arguments)
    if unknown := set(args.names) - set(FIGURES):
        parser.error(f'no such figures: {sorted(unknown)}; expected some of {list(FIGURES)}')
    report = provenance() | {'figures': {}}
    for name in args.names:
        print(f'{name} ...', file=sys.stderr)
        began = time.monotonic()
        report['figures'][name] = measure(name)
        print(json.dumps(report['figures'][name], indent=1), flush=True)
        print(f'{name}: {time.monotonic() - began:.0f} s', file=sys.stderr)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(args.out, (json.dumps(report, indent=1) + '\n').encode())
    print(f'\nwritten to {args.out}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
