# SPDX-License-Identifier: Apache-2.0
"""What the packaging tests share."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope='session')
def copy_sources(repo_root: Path) -> Callable[[Path], Path]:
    """Copies the sources to a new folder, so that nothing touches the clone or uses an old build/ in it."""
    ignored = shutil.ignore_patterns('.*', 'build', 'install', 'log', 'out', 'runs', '*.egg-info',
                                     '__pycache__')
    return lambda target: Path(shutil.copytree(repo_root, target, ignore=ignored))
