"""What the tests of this room make their sets with."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest


@pytest.fixture(scope='session')
def making() -> SimpleNamespace:
    """The functions and tables of making.py."""
    return SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name('making.py'))))
