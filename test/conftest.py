# SPDX-License-Identifier: Apache-2.0
"""Fixtures and settings that all tests share."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import HealthCheck, settings
from training_set import write_set

REPO_ROOT = Path(__file__).resolve().parents[1]

# In CI the same examples run every time, so that a failure can be repeated. There is no deadline, because a
# shared core makes a single example slow now and then.
settings.register_profile('dev', deadline=None)
settings.register_profile('ci', deadline=None, derandomize=True, print_blob=True,
                          suppress_health_check=[HealthCheck.too_slow])
settings.load_profile('ci' if os.environ.get('CI') else 'dev')


def missing(what: str, allowed: bool = False) -> NoReturn:
    """Skip the test; in CI fail it, unless that is allowed to be missing."""
    if os.environ.get('CI') and not allowed:
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture(scope='session', autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep fetched models and timed choices of this run out of the user's cache. pip still uses that one."""
    before = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
    os.environ.setdefault('PIP_CACHE_DIR', os.path.join(before, 'pip'))
    os.environ['XDG_CACHE_HOME'] = str(tmp_path_factory.mktemp('xdg_cache'))


@pytest.fixture(scope='session', autouse=True)
def one_torch_thread() -> None:
    """Limit PyTorch to one thread. For these small networks a second one costs more than it gains."""
    if torch := sys.modules.get('torch'):  # where a test module has loaded it
        torch.set_num_threads(1)


@pytest.fixture(scope='session')
def tiny_tar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training set of three colors that is learned in seconds."""
    return write_set(tmp_path_factory.mktemp('set') / 'tiny.tar')


@pytest.fixture(scope='session')
def repo_root() -> Path:
    """The root of the source tree."""
    return REPO_ROOT


@pytest.fixture(scope='session')
def shared_data() -> Path:
    """`../shared/data`: photos, real bags and public models that aren't in the repository.

    Without it the test is skipped. In CI it fails, unless WITHOUT_SHARED_DATA is set.
    """
    path = REPO_ROOT.parent / 'shared' / 'data'
    if not path.is_dir():
        missing(f'needs ../shared/data beside the clone ({path} is not a directory)',
                allowed=bool(os.environ.get('WITHOUT_SHARED_DATA')))
    return path


@pytest.fixture(scope='session')
def native_library(repo_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The C library, built from the sources unless SHUFFLENET_NATIVE_LIBRARY names one.

    Without a C compiler the test is skipped. In CI it fails.
    """
    if given := os.environ.get('SHUFFLENET_NATIVE_LIBRARY'):
        return Path(given)
    if not any(map(shutil.which, ('cc', 'gcc', 'clang'))):
        missing('needs a C compiler: cc, gcc or clang')
    out = tmp_path_factory.mktemp('native')
    build = [sys.executable, str(repo_root / 'native' / 'build.py'), '--out', str(out), '--werror']
    subprocess.run(build, check=True)
    return out / 'libshufflenet_native.so'


@pytest.fixture(scope='session')
def arm_tools() -> None:
    """The emulator with its counting plugin, and the cross compiler.

    Without them the test is skipped. In CI it fails. An ARM machine runs its kernels in the other tests.
    """
    if platform.machine() == 'aarch64':
        pytest.skip('emulates ARM, and this is an ARM machine')
    from benchmarks.arm import prepare
    try:
        prepare.ensure_plugin()
    except prepare.PrepareError as error:
        missing(str(error))


@pytest.fixture(scope='session')
def copy_sources(repo_root: Path) -> Callable[[Path], Path]:
    """Copies the sources to a new folder, so that nothing touches the clone or uses an old build/ in it."""
    ignored = shutil.ignore_patterns('.*', 'build', 'install', 'log', 'out', 'runs', '*.egg-info',
                                     '__pycache__')
    return lambda target: Path(shutil.copytree(repo_root, target, ignore=ignored))
