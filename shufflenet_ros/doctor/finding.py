# SPDX-License-Identifier: Apache-2.0
"""What a check found. Checks that load libraries run in a child process, which may hang or crash."""

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from shufflenet_ros.core.console import say_json
from shufflenet_ros.core.watch import Level

_PACKAGE_PARENT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Finding:
    """One result of a check.

    Attributes:
        name: what was checked, such as discovery; several findings can have the same name.
        found, expected: the measurement, and what it should be; `expected` is '' if nothing is wrong.
        remedy: what to do or to type; '' if nothing is wrong.
    """

    name: str
    level: Level
    found: str
    expected: str = ''
    remedy: str = ''

    def as_json(self) -> dict[str, str]:
        """The finding as an object of `doctor --json`."""
        return asdict(self) | {'level': self.level.name.lower()}


def ok(name: str, found: str) -> Finding:
    """Nothing is wrong."""
    return Finding(name, Level.OK, found)


def warn(name: str, found: str, expected: str, remedy: str) -> Finding:
    """It may be the cause, or makes results late or rare."""
    return Finding(name, Level.WARN, found, expected, remedy)


def error(name: str, found: str, expected: str, remedy: str) -> Finding:
    """It is a cause of missing results."""
    return Finding(name, Level.ERROR, found, expected, remedy)


def start_checks(module: str, request: Mapping[str, Any]) -> 'subprocess.Popen[str]':
    """Run the function check(request) of a module in a child process."""
    path = os.pathsep.join(filter(None, (str(_PACKAGE_PARENT), os.environ.get('PYTHONPATH'))))
    return subprocess.Popen(
        [sys.executable, '-m', __name__, module, json.dumps(request)], env=os.environ | {'PYTHONPATH': path},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors='replace',
        start_new_session=True)


def findings_of(name: str, child: 'subprocess.Popen[str]', until: float, remedy: str) -> Iterator[Finding]:
    """The child's findings; one more if it ends badly, or not before `until` on the steady clock."""
    try:
        out, err = child.communicate(timeout=max(0.1, until - time.monotonic()))
        ending = f'ended with status {child.returncode}' if child.returncode else ''
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        out, err = child.communicate()
        ending = 'took too long'
    for line in out.splitlines():
        with suppress(ValueError, KeyError, TypeError, AttributeError):  # what a library printed
            values = json.loads(line)
            yield Finding(**values | {'level': Level[values['level'].upper()]})
    if ending:
        last = ''.join(f': {line[:300]}' for line in err.strip().splitlines()[-1:])
        yield error(name, f'the check {ending}{last}', 'that it ends in time', remedy)


if __name__ == '__main__':
    for finding in importlib.import_module(sys.argv[1]).check(json.loads(sys.argv[2])):
        say_json(finding.as_json(), flush=True)  # at once: what comes next may end the process
    os._exit(0)  # an orderly end of rclpy and of the runtimes takes up to a second
