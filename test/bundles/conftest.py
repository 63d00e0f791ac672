# SPDX-License-Identifier: Apache-2.0
"""Keeps these tests away from this machine's own models."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def no_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache and no ament prefix, whatever the machine has."""
    cache = tmp_path_factory.mktemp('cache')
    monkeypatch.setenv('XDG_CACHE_HOME', str(cache))
    monkeypatch.delenv('AMENT_PREFIX_PATH', raising=False)
    return cache
