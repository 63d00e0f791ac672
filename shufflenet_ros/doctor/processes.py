# SPDX-License-Identifier: Apache-2.0
"""Processes of the node on this machine, also those that other settings of ROS hide from this shell."""

import os
import shlex
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PROGRAMS = (b'/classify_node\0', b'\0shufflenet_ros.ros.main\0')
_BY_LAUNCH = b'/launch_params_'  # the parameter files that launch_ros writes for its nodes
# Variables that decide which nodes see each other -> what holds without them.
_DISCOVERY = {'ROS_DOMAIN_ID': '0', 'RMW_IMPLEMENTATION': '', 'ROS_AUTOMATIC_DISCOVERY_RANGE': 'SUBNET',
              'ROS_LOCALHOST_ONLY': '0'}


@dataclass(frozen=True)
class NodeProcess:
    """A process that runs a classification node.

    Attributes:
        elsewhere: commands that give this shell its settings; '' if they are the same or cannot be read.
        orphan: whether ros2 launch started it and has ended since.
    """

    pid: int
    elsewhere: str
    orphan: bool


def node_processes(root: Path, environment: Mapping[str, str]) -> Iterator[NodeProcess]:
    """The processes, by number."""
    for folder in sorted(root.glob('proc/[0-9]*'), key=lambda path: int(path.name)):
        with suppress(OSError, ValueError):  # ended meanwhile
            command = (folder / 'cmdline').read_bytes()
            if any(program in command for program in _PROGRAMS):
                parent = (folder / 'stat').read_text().rpartition(')')[2].split()[1]
                starter = (root / 'proc' / parent / 'cmdline').read_bytes() if parent != '0' else b''
                orphan = _BY_LAUNCH in command and b'launch' not in starter
                yield NodeProcess(int(folder.name), _elsewhere(folder, environment), orphan)


def _elsewhere(folder: Path, environment: Mapping[str, str]) -> str:
    try:
        lines = os.fsdecode((folder / 'environ').read_bytes()).split('\0')
    except OSError:  # of another user
        return ''
    its = dict(line.split('=', 1) for line in lines if '=' in line)
    return '; '.join(f'export {name}={shlex.quote(its[name])}' if name in its else f'unset {name}'
                     for name, default in _DISCOVERY.items()
                     if its.get(name, default) != environment.get(name, default))
