# SPDX-License-Identifier: Apache-2.0
"""Runs a command as the systemd unit would, in bubblewrap with the equivalent restrictions.

Each directive of the unit must be in one of the two tables, so that neither can be forgotten.
"""

from __future__ import annotations

import errno
import os
import platform
import re
import struct
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

HEADER = Path('/usr/include/x86_64-linux-gnu/asm/unistd_64.h')
# Directive -> options of bubblewrap; with {} its value. An empty tuple: bubblewrap or another option does it.
OPTIONS: dict[str, tuple[str, ...]] = {
    'ProtectSystem=strict': ('--ro-bind', '/', '/'),
    'ProtectHome=read-only': (),  # by the line above
    'PrivateTmp=yes': ('--tmpfs', '/tmp', '--tmpfs', '/var/tmp'),
    'PrivateDevices=yes': ('--dev', '/dev', '--bind', '/dev/shm', '/dev/shm'),
    'RuntimeDirectory': ('--tmpfs', '/run', '--dir', '/run/{}'),
    'ReadWritePaths': ('--bind', '{}', '{}'),
    'NoNewPrivileges=yes': (),  # always
    'CapabilityBoundingSet=': ('--cap-drop', 'ALL'),
    'AmbientCapabilities=': (),
    'PrivateUsers=yes': ('--unshare-user',),
    'PrivateIPC=yes': ('--unshare-ipc',),
    'ProtectHostname=yes': ('--unshare-uts',),
    'ProtectControlGroups=yes': ('--unshare-cgroup-try',),
    'ProtectKernelTunables=yes': (),  # /proc/sys and /sys are read-only with all the rest
}
# These become the system call filter.
FILTER = {'SystemCallFilter', 'SystemCallArchitectures=native', 'SystemCallErrorNumber=EPERM',
          'MemoryDenyWriteExecute=yes', 'RestrictAddressFamilies', 'RestrictNamespaces=yes',
          'LockPersonality=yes'}
NO_EQUIVALENT = {
    # not about restrictions
    'User', 'Environment', 'ExecStart', 'Type', 'NotifyAccess', 'TimeoutStartSec', 'WatchdogSec', 'Restart',
    'RestartSec', 'KillSignal', 'TimeoutStopSec',
    'MemoryMax', 'DevicePolicy=closed',  # control groups
    'LimitCORE', 'KeyringMode=private',
    'RemoveIPC=no',  # when the service ends
    'RestrictRealtime=yes', 'RestrictSUIDSGID=yes',  # capabilities are missing for it anyway
    'ProtectClock=yes', 'ProtectKernelLogs=yes', 'ProtectKernelModules=yes',  # by capabilities
    'ProtectProc=invisible',  # an option of the mount of /proc
}
FAMILIES = {'AF_UNIX': 1, 'AF_INET': 2, 'AF_INET6': 10, 'AF_NETLINK': 16}
LOAD, EQUAL, AND, RETURN = 0x20, 0x15, 0x54, 0x06
ALLOW, DENY, KILL = 0x7fff0000, 0x00050000 | errno.EPERM, 0x80000000


def service_lines(unit: str) -> list[tuple[str, str]]:
    """(directive, value) of the section [Service]."""
    section = unit.split('[Service]\n')[1].split('\n[')[0]
    return [(line.partition('=')[0], line.partition('=')[2]) for line in section.splitlines()
            if line and not line.startswith('#')]


def words(value: str, command: bool = False) -> list[str]:
    """The words of a value, as systemd reads them: quotes, backslashes, specifiers, and $$ in a command."""
    found = [re.sub(r'\\(.)', r'\1', quoted) or plain
             for quoted, plain in re.findall(r'"((?:[^"\\]|\\.)*)"|(\S+)', value)]
    assert not any(re.search(r'%(?!%)', word.replace('%%', '')) for word in found), 'a specifier'
    if command:
        assert not any('$' in word.replace('$$', '') for word in found), 'a variable'
        found = [word.replace('$$', '$') for word in found]
    return [word.replace('%%', '%') for word in found]


def unknown_directives(unit: str) -> list[str]:
    """Directives that are in none of the tables."""
    known = OPTIONS.keys() | FILTER | NO_EQUIVALENT
    return [f'{key}={value}' for key, value in service_lines(unit)
            if not {key, f'{key}={value}'} & known]


def sandboxed(unit: str, command: Sequence[str], *readable: Path) -> tuple[list[str], int]:
    """The command in bubblewrap, and a file descriptor that it must inherit.

    Args:
        readable: folders that stay visible where the unit hides the temporary folder, as a clone in it.
    """
    options: list[str] = ['bwrap']
    late: list[str] = []
    # What hides the root comes first: it would hide the others.
    for key, value in sorted(service_lines(unit), key=lambda line: line[0] != 'ProtectSystem'):
        for option in OPTIONS.get(f'{key}={value}', OPTIONS.get(key, ())):
            filled = option.format(*(word.lstrip('-') for word in words(value)) if '{' in option else ())
            (late if key == 'ReadWritePaths' else options).append(filled)
        if key == 'Environment':
            options += ['--setenv', *words(value)[0].split('=', 1)]
    for folder in readable:
        options += ['--ro-bind', str(folder), str(folder)]
    program = os.memfd_create('filter', 0)
    os.write(program, bpf(unit))
    os.lseek(program, 0, os.SEEK_SET)
    return [*options, *late, '--seccomp', str(program), '--die-with-parent', *command], program


@cache
def calls_of(group: str) -> frozenset[str]:
    """The system calls of a group such as @system-service, as this systemd defines it."""
    shown = subprocess.run(['systemd-analyze', 'syscall-filter', '--no-pager', group], check=True, text=True,
                           capture_output=True).stdout.split('\n')[1:]
    names = [line.strip() for line in shown if line.strip() and not line.strip().startswith('#')]
    return frozenset().union(*(calls_of(name) if name.startswith('@') else {name} for name in names))


def bpf(unit: str) -> bytes:
    """The unit's system call filter as a program for x86_64."""
    assert platform.machine() == 'x86_64'
    numbers = {name: int(number) for name, number in re.findall(r'#define __NR_(\w+) (\d+)',
                                                                HEADER.read_text())}
    directives = service_lines(unit)
    allowed: set[str] = set()
    for value in (value for key, value in directives if key == 'SystemCallFilter'):
        named = set().union(*(calls_of(group) for group in value.lstrip('~').split()))
        allowed = allowed - named if value.startswith('~') else allowed | named
    if ('RestrictNamespaces', 'yes') in directives:  # without clone3, glibc uses clone
        allowed -= {'unshare', 'setns', 'clone3'}
    if ('LockPersonality', 'yes') in directives:
        allowed -= {'personality'}
    steps = [(LOAD, 0, 0, 4), (EQUAL, 1, 0, 0xc000003e), (RETURN, 0, 0, KILL)]

    def deny(call: str, argument: int, mask: int, *values: int, unless: bool = False) -> None:
        """Deny a call whose masked argument is (or is not) one of the values."""
        ends = len(values)
        steps.extend([(LOAD, 0, 0, 0), (EQUAL, 0, ends + 4, numbers[call]), (LOAD, 0, 0, 16 + 8 * argument),
                      (AND, 0, 0, mask)])
        for left, value in zip(range(ends, 0, -1), values):
            steps.append((EQUAL, left if unless else left - 1, 0 if unless or left > 1 else 1, value))
        steps.append((RETURN, 0, 0, DENY))
        steps.append((LOAD, 0, 0, 0))

    if ('MemoryDenyWriteExecute', 'yes') in directives:
        deny('mmap', 2, 6, 6)
        deny('mprotect', 2, 4, 4)
        deny('pkey_mprotect', 2, 4, 4)
        deny('shmat', 2, 0o100000, 0o100000)
    if ('RestrictNamespaces', 'yes') in directives:
        deny('clone', 0, 0x7e020000, 0, unless=True)
    for value in (value for key, value in directives if key == 'RestrictAddressFamilies'):
        deny('socket', 0, 0xffffffff, *(FAMILIES[name] for name in value.split()), unless=True)
    steps.append((LOAD, 0, 0, 0))
    if 'clone3' in numbers:
        steps += [(EQUAL, 0, 1, numbers['clone3']), (RETURN, 0, 0, 0x00050000 | errno.ENOSYS)]
    for name in sorted(allowed & numbers.keys()):
        steps += [(EQUAL, 0, 1, numbers[name]), (RETURN, 0, 0, ALLOW)]
    steps.append((RETURN, 0, 0, DENY))
    return b''.join(struct.pack('HBBI', *step) for step in steps)
