# SPDX-License-Identifier: Apache-2.0
"""The environments that the packaging tests share. `make test` has filled most of them already."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import environments
import pytest
from shell import pip_install, run


@pytest.fixture(scope='session')
def colcon_venv() -> Path:
    """An environment with colcon and the ROS build wheels."""
    if not environments.WHEELS_EXIST:
        pytest.skip('pip has ROS for x86_64 only')
    return environments.colcon_environment()


@pytest.fixture(scope='session')
def copy_sources(repo_root: Path) -> Callable[[Path], Path]:
    """Copies the sources to a new folder, so that nothing touches the clone or uses an old build/ in it."""
    ignored = shutil.ignore_patterns('.*', 'build', 'install', 'log', 'out', 'runs', '*.egg-info',
                                     '__pycache__')
    return lambda target: Path(shutil.copytree(repo_root, target, ignore=ignored))


@pytest.fixture(scope='session')
def plain_venv(tmp_path_factory: pytest.TempPathFactory, copy_sources: Callable[[Path], Path]) -> Path:
    """What `pip install .` makes of an empty environment."""
    folder = tmp_path_factory.mktemp('plain')
    venv = folder / 'venv'
    run([sys.executable, '-m', 'venv', venv])
    pip_install(venv, '-c', environments.CONSTRAINTS, copy_sources(folder / 'tree'))
    return venv
