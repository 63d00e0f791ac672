# SPDX-License-Identifier: Apache-2.0
"""Commands for pip that error messages tell the user to type, for the running Python."""

import shlex
import sys
import sysconfig
from pathlib import Path


def pip_install(package: str, *options: str) -> str:
    """The command that installs a package, outside a virtual environment only for this user."""
    user = [] if in_virtual_environment() else ['--user']
    return _pip('install', *options, *user, *_unprotected(), package)


def pip_uninstall(*packages: str) -> str:
    """The command that removes packages that pip has installed."""
    return _pip('uninstall', *_unprotected(), *packages)


def in_virtual_environment() -> bool:
    """Whether pip's packages are apart from those of the distribution."""
    return sys.prefix != sys.base_prefix


def _unprotected() -> list[str]:
    """The option that pip needs if the distribution protects its Python from it (PEP 668)."""
    marker = Path(sysconfig.get_path('stdlib'), 'EXTERNALLY-MANAGED')
    return [] if in_virtual_environment() or not marker.is_file() else ['--break-system-packages']


def _pip(*words: str) -> str:
    return shlex.join([sys.executable, '-m', 'pip', *words])
