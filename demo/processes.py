"""The demo's other processes: the real node and the real replay, each as a user would start it."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from demo.wheels import ROOT

STOP_S = 5.0


def dds_environment() -> dict[str, str]:
    """What every process of the demo needs: this machine only, a domain of its own, room for large images."""
    return {
        'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
        'ROS_DOMAIN_ID': os.environ.get('ROS_DOMAIN_ID') or str(_free_domain()),
        'FASTDDS_DEFAULT_PROFILES_FILE': str(ROOT / 'config' / 'fastdds_large_images.xml'),
    }


def _free_domain() -> int:
    """A DDS domain whose first participant's port nobody holds (101 is the last that is safe on Linux)."""
    for domain in random.sample(range(1, 102), 101):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(('', 7410 + 250 * domain))
            except OSError:
                continue
            return domain
    raise RuntimeError('all DDS domains from 1 to 101 are taken on this machine: set ROS_DOMAIN_ID')


def node_command(parameters: Mapping[str, str], image_topic: str = 'image_raw') -> list[str]:
    """The node with these parameters (YAML texts), listening on this topic."""
    settings = [word for name, value in parameters.items() for word in ('-p', f'{name}:={value}')]
    return [sys.executable, '-m', 'shufflenet_ros.ros.main', '--ros-args', '-r', f'image_raw:={image_topic}',
            *settings]


def replay_command(bag: Path) -> list[str]:
    """`shufflenet-ros replay`, beginning when the node listens, and the demo to its /clock."""
    return [sys.executable, '-m', 'shufflenet_ros.cli', 'replay', str(bag), '--wait-for-subscribers', '1',
            '--wait-for-clock']


class Child:
    """A process while the `with` lasts; afterwards it is gone whatever happened."""

    def __init__(self, command: Sequence[str], log: Path):
        """Say what to start, and which file gets all it prints."""
        self.command, self.log = command, log

    def __enter__(self) -> Child:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open('wb') as log:
            # In a session of its own: Ctrl-C in the terminal reaches the demo, which then ends the child.
            self._process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log,
                                             stderr=subprocess.STDOUT, cwd=ROOT, start_new_session=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            self._process.send_signal(number)
            try:
                self._process.wait(STOP_S)
                return
            except subprocess.TimeoutExpired:
                continue

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def ended(self) -> int | None:
        """The exit status where the process has ended by itself, else None."""
        return self._process.poll()

    def last_words(self, lines: int = 30) -> str:
        """The end of what it printed."""
        return '\n'.join(self.log.read_text(errors='replace').splitlines()[-lines:])
