"""Fixtures and settings that every room's tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

REPO_ROOT = Path(__file__).resolve().parents[1]

# In CI the same examples run every time, so that a red run can be repeated; no deadline, because
# a shared core makes any single example slow now and then.
settings.register_profile('dev', deadline=None)
settings.register_profile('ci', deadline=None, derandomize=True, print_blob=True,
                          suppress_health_check=[HealthCheck.too_slow])
settings.load_profile('ci' if os.environ.get('CI') else 'dev')


@pytest.fixture(scope='session')
def repo_root() -> Path:
    """The root of the source tree."""
    return REPO_ROOT


@pytest.fixture(scope='session')
def shared_data() -> Path:
    """`../shared/data`: photos, real bags and public models that the repository doesn't carry.

    A machine without it skips the test; in CI its absence is a failure.
    """
    path = REPO_ROOT.parent / 'shared' / 'data'
    if not path.is_dir():
        message = f'needs ../shared/data beside the clone ({path} is no directory)'
        if os.environ.get('CI'):
            pytest.fail(message)
        pytest.skip(message)
    return path
