# SPDX-License-Identifier: Apache-2.0
"""Checks of the machine: shared memory, heat, memory, load and folders. No check needs a library."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from shufflenet_ros.bundles.locate import cache_root
from shufflenet_ros.doctor.finding import Finding, error, ok, warn

MIB = 1 << 20
SHM_NEEDED = 96 * MIB  # a segment of 32 MiB for each of camera, node and one more subscriber
MEMORY_NEEDED = 200 * MIB  # the node with the default model, and some images
HOT_C = 80.0
_THROTTLED = {0: 'under-voltage', 1: 'frequency capped', 2: 'throttled', 3: 'soft temperature limit'}
_COOL = 'improve the cooling; meanwhile results are late, and max_rate_hz saves work'


def check_machine(root: Path, environment: Mapping[str, str]) -> Iterator[Finding]:
    """Every finding about the machine whose file system is at root (/proc, /sys, /dev/shm)."""
    for name, check in {'shared memory': _shared_memory, 'heat': _heat, 'memory': _memory,
                        'load': _load}.items():
        try:
            yield from check(root)
        except (OSError, ValueError) as problem:  # boards differ in what /proc and /sys contain
            yield ok(name, f'not checked: {problem}')
    yield from _folders(environment)


def _shared_memory(root: Path) -> Iterator[Finding]:
    name, folder = 'shared memory', root / 'dev' / 'shm'
    try:
        disk = os.statvfs(folder)
        segments = [path for path in folder.iterdir() if path.name.startswith(('fastrtps_', 'fastdds_'))]
    except OSError as problem:
        yield warn(name, str(problem), 'a folder /dev/shm', 'in a container, use --ipc=host')
        return
    total, free = disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize
    foreign = set(map(_owner, (path for path in segments if not os.access(path, os.W_OK)))) - {''}
    found = f'/dev/shm: {free // MIB} of {total // MIB} MiB free, {len(segments)} files of Fast DDS'
    if not os.access(folder, os.W_OK):
        yield error(name, '/dev/shm cannot be written', 'that Fast DDS can make segments there',
                    'sudo chmod 1777 /dev/shm')
    elif free < SHM_NEEDED:
        yield warn(name, found, f'{SHM_NEEDED // MIB} MiB free, otherwise large images are lost',
                   'in a container, use --ipc=host or --shm-size=256m; otherwise stop all nodes and remove '
                   'what is left: rm /dev/shm/fastrtps_* /dev/shm/fastdds_*')
    elif foreign:
        yield warn(name, f'{found}; some belong to {", ".join(sorted(foreign))}',
                   'one user for all nodes, because they do not hear each other otherwise',
                   'run camera and node as the same user; with no node running, remove what is left: '
                   'sudo rm /dev/shm/fastrtps_* /dev/shm/fastdds_*')
    else:
        yield ok(name, found)


def _heat(root: Path) -> Iterator[Finding]:
    name = 'heat'
    degrees = max((_number(path) / 1000 for path in root.glob('sys/class/thermal/thermal_zone*/temp')),
                  default=0.0)
    found = f'hottest sensor {degrees:.0f} C' if degrees else 'no sensor'
    bits = _text(root / 'sys/devices/platform/soc/soc:firmware/get_throttled')
    now = [word for bit, word in _THROTTLED.items() if int(bits or '0', 16) >> bit & 1]
    if now:  # on a Raspberry Pi
        yield warn(name, f'{found}; firmware: {", ".join(now)}', 'no throttling',
                   'use the official power supply' if 'under-voltage' in now else _COOL)
    elif degrees >= HOT_C:
        yield warn(name, found, f'below {HOT_C:.0f} C', _COOL)
    else:
        yield ok(name, found)
    for folder in sorted(root.glob('sys/devices/system/cpu/cpu[0-9]*/cpufreq')):
        allowed, possible = (_number(folder / f) for f in ('scaling_max_freq', 'cpuinfo_max_freq'))
        if allowed < 0.9 * possible:
            yield warn('clock rate', f'{folder.parent.name}: at most {allowed / 1e3:.0f} MHz',
                       f'{possible / 1e3:.0f} MHz',
                       f'echo {possible:.0f} | sudo tee {folder}/scaling_max_freq; on a Jetson: '
                       'sudo nvpmodel -m 0')
            return


def _memory(root: Path) -> Iterator[Finding]:
    fields = dict(re.findall(r'^(\w+): +(\d+) kB', _text(root / 'proc/meminfo'), re.MULTILINE))
    free = {'the machine': int(fields.get('MemAvailable', 1 << 40)) * 1024}
    group = re.search('^0::(.*)$', _text(root / 'proc/self/cgroup'), re.MULTILINE)
    folder = root / 'sys/fs/cgroup' / (group[1].strip('/') if group else '')
    if (limit := _text(folder / 'memory.max')).isdigit():
        free['the control group'] = int(limit) - int(_number(folder / 'memory.current'))
    where = min(free, key=lambda key: free[key])
    found = f'{free[where] // MIB} MiB available in {where}'
    yield ok('memory', found) if free[where] >= MEMORY_NEEDED else warn(
        'memory', found, f'{MEMORY_NEEDED // MIB} MiB', 'end other processes, or raise the memory limit')


def _load(root: Path) -> Iterator[Finding]:
    load, cores = float(_text(root / 'proc/loadavg').split(' ')[0] or 0), os.cpu_count() or 1
    found = f'{load:.1f} processes for {cores} cores'
    yield ok('load', found) if load <= 2 * cores else warn(
        'load', found, f'at most {2 * cores}', '`top` shows which; results are late and rare meanwhile')


def _folders(environment: Mapping[str, str]) -> Iterator[Finding]:
    home = environment.get('ROS_HOME') or os.path.join(os.path.expanduser('~'), '.ros')
    folders = {'ROS_LOG_DIR': Path(environment.get('ROS_LOG_DIR') or os.path.join(home, 'log')),
               'XDG_CACHE_HOME': cache_root()}
    for variable, folder in folders.items():
        there = next(path for path in (folder, *folder.absolute().parents) if os.path.exists(path))
        if not (there.is_dir() and os.access(there, os.W_OK)):
            yield warn('folders', f'{folder} cannot be written', 'logs and the chosen backend are kept there',
                       f'sudo chown -R $USER {there}, or set {variable} to another folder')
            return
    yield ok('folders', 'logs and cache can be written')


def _owner(path: Path) -> str:
    try:
        return path.owner()
    except FileNotFoundError:  # removed meanwhile
        return ''
    except KeyError:
        return 'a user without a name'


def _text(path: Path) -> str:
    with suppress(OSError):
        return path.read_text(errors='replace').strip()
    return ''


def _number(path: Path) -> float:
    text = _text(path)
    return float(text) if text.lstrip('-').isdigit() else 0.0
