# SPDX-License-Identifier: Apache-2.0
"""--help of a measurement prints help, and measures nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

# One process for all, as most of the time is the import of torch.
ASK = """
import contextlib, io, runpy, sys
for name in sys.argv[1:]:
    output = io.StringIO()
    sys.argv = [name, '--help']
    try:
        with contextlib.redirect_stdout(output):
            runpy.run_module(name, run_name='__main__')
    except SystemExit as end:
        if not end.code and output.getvalue().startswith('usage: '):
            continue
    sys.exit(f'{name} printed no help: {output.getvalue()[:200]}')
"""


def test_every_module_that_runs_parses_arguments(repo_root: Path) -> None:
    files = [file for folder in ('benchmarks', 'demo') for file in sorted((repo_root / folder).rglob('*.py'))
             if "if __name__ == '__main__':" in file.read_text()]
    assert repo_root / 'benchmarks' / 'zoo.py' in files and len(files) > 10
    assert not [file for file in files if '.parse_args(' not in file.read_text()]


def test_help_comes_before_the_measurement(repo_root: Path) -> None:
    names = ['benchmarks.decode', 'benchmarks.arm.prepare', 'benchmarks.zoo',
             'shufflenet_ros.zoo.network_table']
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', ASK, *names],
                          capture_output=True, text=True, cwd=repo_root, timeout=120)
    assert done.returncode == 0, done.stderr
