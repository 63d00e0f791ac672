# SPDX-License-Identifier: Apache-2.0
"""The command as a user runs it, and a model whose results are predictable."""

import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from shufflenet_ros.bundles.index import IndexEntry, write_entries
from shufflenet_ros.cli import main as cli


class Ran(NamedTuple):
    """The exit status and output of a command."""

    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Stdout as JSON lines; anything else on it fails."""
        return [json.loads(line) for line in self.out.splitlines()]


@pytest.fixture
def python(repo_root) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run Python with these arguments in a new process."""
    return lambda *arguments: subprocess.run([sys.executable, *arguments], capture_output=True, text=True,
                                             cwd=repo_root, timeout=120)


@pytest.fixture
def shufflenet(capfd) -> Callable[..., Ran]:
    """Run `shufflenet-ros` with these arguments, in this process; it must end with `status`."""
    def run(*arguments: str | Path, status: int = 0) -> Ran:
        capfd.readouterr()
        try:
            ended = cli.main([*map(str, arguments)])
        except SystemExit as end:  # argparse exits
            ended = int(end.code or 0)
        ran = Ran(ended, *capfd.readouterr())
        assert ran.status == status, ran.err
        assert 'Traceback' not in ran.err
        return ran
    return run


@pytest.fixture
def classify(shufflenet) -> Callable[..., Ran]:
    return partial(shufflenet, 'classify')


@pytest.fixture
def evaluate(shufflenet) -> Callable[..., Ran]:
    return partial(shufflenet, 'evaluate')


@pytest.fixture
def models(shufflenet) -> Callable[..., Ran]:
    return partial(shufflenet, 'models')


@pytest.fixture(scope='session')
def tiny_cache(tmp_path_factory) -> Path:
    """A cache with the bundle `tiny` in its index, so that it is not verified in a subprocess each time."""
    pytest.importorskip('onnx', reason='needs the extra export')
    from tiny_bundle import tiny_bundle
    cache = tmp_path_factory.mktemp('cache')
    folder = cache / 'shufflenet_ros' / 'models'
    folder.mkdir(parents=True)
    data = tiny_bundle(folder / 'tiny.onnx').read_bytes()
    write_entries(folder, {'tiny': IndexEntry.of('tiny.onnx', data)})
    return cache


@pytest.fixture
def tiny(tiny_cache, monkeypatch) -> Path:
    """A bundle with obvious results: a red image is `red`."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tiny_cache))
    return tiny_cache / 'shufflenet_ros' / 'models' / 'tiny.onnx'


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty folder for fetched models. What its index lists is not verified in a subprocess."""
    folder = tmp_path / 'cache' / 'shufflenet_ros' / 'models'
    folder.mkdir(parents=True)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    return folder


@pytest.fixture
def int8(shared_data, cache) -> Path:
    """The public int8 model, listed in an index as if it was fetched."""
    path = shared_data / 'shufflenet_v2_x1_0_int8.onnx'
    write_entries(cache, {'int8': IndexEntry.of('int8.onnx', path.read_bytes())})
    return path
