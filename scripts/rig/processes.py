# SPDX-License-Identifier: Apache-2.0
"""Start the node and the replay as a user would, each in its own process. Imports no ROS."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from shufflenet_ros.core.errors import ShuffleNetError
from shufflenet_ros.ros.dds_profile import profile_variable

ROOT = Path(__file__).resolve().parents[2]
STOP_S = 5.0


class ProcessError(ShuffleNetError):
    """A process failed to start or to end, or died. The message has the end of its log."""


def dds_environment() -> dict[str, str]:
    """Variables of every process of a run: this machine only, its own domain, space for large images."""
    return {
        'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
        'ROS_DOMAIN_ID': os.environ.get('ROS_DOMAIN_ID') or str(_free_domain()),
        profile_variable(os.environ): str(ROOT / 'config' / 'fastdds_large_images.xml'),
    }


def _free_domain() -> int:
    """Find a DDS domain whose first participant's port is free (101 is the last safe domain on Linux)."""
    for domain in random.sample(range(1, 102), 101):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(('', 7410 + 250 * domain))
            except OSError:
                continue
            return domain
    raise ProcessError('all DDS domains from 1 to 101 are in use on this machine: set ROS_DOMAIN_ID')


def node_command(parameters: Mapping[str, str], image_topic: str) -> list[str]:
    """Return the command that runs the node with these parameters (YAML text) on this topic."""
    options = [word for name, value in parameters.items() for word in ('-p', f'{name}:={value}')]
    return [sys.executable, '-m', 'shufflenet_ros.ros.main', '--ros-args', '-r', f'image_raw:={image_topic}',
            *options]


class ChildProcess:
    """A process that runs while the `with` block does, and is always stopped after it.

    Its output goes to `log`, and error messages call the process by the name of that file.
    """

    def __init__(self, command: Sequence[str], log: Path):
        self.command, self.log = command, log

    def __enter__(self) -> ChildProcess:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open('wb') as log:
            # In its own session: Ctrl-C reaches only the parent, which then stops the child.
            self._process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log,
                                             stderr=subprocess.STDOUT, cwd=ROOT, start_new_session=True)
        self.pid = self._process.pid
        return self

    def __exit__(self, *_: object) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            self._process.send_signal(number)
            try:
                self._process.wait(STOP_S)
                return
            except subprocess.TimeoutExpired:
                continue

    @property
    def status(self) -> int | None:
        """The exit status, or None while the process runs."""
        return self._process.poll()

    def error(self, what: str) -> ProcessError:
        """An error about this process, with the last lines of its log."""
        return ProcessError(f'{what}. Its log:\n{self.log_tail()}')

    def check_running(self) -> None:
        """Raise ProcessError, with the log, if the process has ended."""
        if self.status is not None:
            raise self.error(f'the {self.log.stem} ended with status {self.status}')

    def log_tail(self, lines: int = 30) -> str:
        """Return the last lines of the log."""
        return '\n'.join(self.log.read_text(errors='replace').splitlines()[-lines:])
