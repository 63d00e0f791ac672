"""The environments that the package's tests share. `make test` has filled most of them already."""

from __future__ import annotations

import shutil
import sys
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
def plain_venv(tmp_path_factory: pytest.TempPathFactory, repo_root: Path) -> Path:
    """What `pip install .` makes of an empty environment."""
    folder = tmp_path_factory.mktemp('plain')
    # From a copy: setuptools would take modules deleted long ago from a build/ folder in the clone.
    tree = shutil.copytree(repo_root, folder / 'tree', ignore=shutil.ignore_patterns(
        '.*', 'build', 'install', 'log', 'out', 'runs', '*.egg-info', '__pycache__'))
    venv = folder / 'venv'
    run([sys.executable, '-m', 'venv', venv])
    pip_install(venv, '-c', environments.CONSTRAINTS, tree)
    return venv
