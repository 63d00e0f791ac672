# SPDX-License-Identifier: Apache-2.0
"""Fixtures and settings that every room's tests share."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from training_set import write_set

REPO_ROOT = Path(__file__).resolve().parents[1]

# In CI the same examples run every time, so that a red run can be repeated; no deadline, because
# a shared core makes any single example slow now and then.
settings.register_profile('dev', deadline=None)
settings.register_profile('ci', deadline=None, derandomize=True, print_blob=True,
                          suppress_health_check=[HealthCheck.too_slow])
settings.load_profile('ci' if os.environ.get('CI') else 'dev')


@pytest.fixture(scope='session', autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Fetched models and kept choices of this run are none of the machine's; pip keeps its own cache."""
    before = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
    os.environ.setdefault('PIP_CACHE_DIR', os.path.join(before, 'pip'))
    os.environ['XDG_CACHE_HOME'] = str(tmp_path_factory.mktemp('xdg_cache'))


@pytest.fixture(scope='session', autouse=True)
def one_torch_thread() -> None:
    """At these sizes a second thread costs more than it brings, and other work runs beside."""
    if torch := sys.modules.get('torch'):  # where a test module has loaded it
        torch.set_num_threads(1)


@pytest.fixture(scope='session')
def tiny_tar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training set of three colors, learned in seconds."""
    return write_set(tmp_path_factory.mktemp('set') / 'tiny.tar')


@pytest.fixture(scope='session')
def repo_root() -> Path:
    """The root of the source tree."""
    return REPO_ROOT


@pytest.fixture(scope='session')
def shared_data() -> Path:
    """`../shared/data`: photos, real bags and public models that the repository doesn't carry.

    A machine without it skips the test; in CI its absence is a failure, unless WITHOUT_SHARED_DATA is set.
    """
    path = REPO_ROOT.parent / 'shared' / 'data'
    if not path.is_dir():
        message = f'needs ../shared/data beside the clone ({path} is no directory)'
        if os.environ.get('CI') and not os.environ.get('WITHOUT_SHARED_DATA'):
            pytest.fail(message)
        pytest.skip(message)
    return path


@pytest.fixture(scope='session')
def native_library(repo_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our C library as the sources are now; SHUFFLENET_NATIVE_LIBRARY names one that is built already.

    A machine without a C compiler skips the test; in CI its absence is a failure.
    """
    if given := os.environ.get('SHUFFLENET_NATIVE_LIBRARY'):
        return Path(given)
    if not any(map(shutil.which, ('cc', 'gcc', 'clang'))):
        message = 'needs a C compiler: cc, gcc or clang'
        if os.environ.get('CI'):
            pytest.fail(message)
        pytest.skip(message)
    out = tmp_path_factory.mktemp('native')
    build = [sys.executable, str(repo_root / 'native' / 'build.py'), '--out', str(out), '--werror']
    subprocess.run(build, check=True)
    return out / 'libshufflenet_native.so'


@pytest.fixture(scope='session')
def arm_tools() -> None:
    """The emulator with its counting plugin, and the cross compiler.

    A machine without them skips the test; in CI their absence is a failure.
    """
    from benchmarks.arm import prepare
    try:
        prepare.ensure_plugin()
    except prepare.PrepareError as error:
        if os.environ.get('CI'):
            raise
        pytest.skip(str(error))
