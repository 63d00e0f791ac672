# SPDX-License-Identifier: Apache-2.0
"""`make figures`: run every measurement, write docs/figures.json, print a table.

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
from collections.abc import Mapping
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
PACKAGES = {'numpy': ('numpy',), 'opencv': ('opencv-python', 'opencv-python-headless'),
            'onnxruntime': ('onnxruntime',), 'rclpy': ('rclpy',)}


def machine() -> dict[str, Any]:
    """Return what the figures are measured on."""
    return {'cpu': _cpu_model(), 'cores': os.cpu_count(), 'architecture': platform.machine(),
            'system': platform.platform(terse=True), 'load_average': [round(x, 2) for x in os.getloadavg()]}


def _cpu_model() -> str:
    for line in Path('/proc/cpuinfo').read_text().splitlines():
        key, _, name = (part.strip() for part in line.partition(':'))
        if key.lower() in ('model name', 'hardware', 'model') and name and not name.isdigit():
            return name
    return platform.processor() or 'unknown'


def versions() -> dict[str, str]:
    """Return the versions of Python and the main libraries, and the name of the ROS middleware."""
    found = {'python': platform.python_version()}
    for name, distributions in PACKAGES.items():
        found[name] = next((v for v in map(_version, distributions) if v), 'not installed')
    try:
        found['rmw'] = importlib.import_module('rclpy.utilities').get_rmw_implementation_identifier()
    except ImportError:
        found['rmw'] = 'not installed'
    return found


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ''


def commit() -> str:
    """Return the commit that is measured, with a + if tracked files outside docs/ are modified."""
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


def table(name: str, figures: Mapping[str, Any], prefix: str = '') -> list[str]:
    """Return a line for each figure of a measurement; keys of nested ones are joined by dots."""
    lines = []
    for key, value in figures.items():
        if isinstance(value, Mapping):
            lines += table(name, value, f'{prefix}{key}.')
        else:
            lines.append(f'{name:<10} {prefix + key:<44} {value}')
    return lines


def main() -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(prog='python -m benchmarks.figures', description=__doc__)
    parser.add_argument('names', nargs='*', default=list(FIGURES), metavar='NAME',
                        help=f'only these of: {", ".join(FIGURES)}')
    parser.add_argument('--out', type=Path, default=ROOT / 'docs' / 'figures.json')
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(FIGURES):
        parser.error(f'no such figures: {sorted(unknown)}; expected some of {list(FIGURES)}')
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec='seconds')
    report: dict[str, Any] = {'date': now, 'commit': commit(), 'machine': machine(), 'versions': versions(),
                              'figures': {}}
    for name in arguments.names:
        print(f'{name} ...', file=sys.stderr)
        began = time.monotonic()
        report['figures'][name] = measure(name)
        print('\n'.join(table(name, report['figures'][name])), flush=True)
        print(f'{name}: {time.monotonic() - began:.0f} s', file=sys.stderr)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(arguments.out, (json.dumps(report, indent=1) + '\n').encode())
    print(f'\nwritten to {arguments.out}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
