# SPDX-License-Identifier: Apache-2.0
"""The command as a user runs it, and a model whose results are predictable."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

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
def python(repo_root: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run Python with these arguments in a process of its own."""
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=repo_root,
                              timeout=60)
    return run


@pytest.fixture
def run_verb(capfd: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Run `shufflenet-ros` with these arguments, in this process."""
    def run(*arguments: str | Path) -> Ran:
        capfd.readouterr()
        try:
            status = cli.main([*map(str, arguments)])
        except SystemExit as end:  # argparse exits
            status = int(end.code or 0)
        return Ran(status, *capfd.readouterr())
    return run


@pytest.fixture
def classify(run_verb: Callable[..., Ran]) -> Callable[..., Ran]:
    """Run `shufflenet-ros classify` with these arguments."""
    return partial(run_verb, 'classify')


@pytest.fixture
def evaluate(run_verb: Callable[..., Ran]) -> Callable[..., Ran]:
    """Run `shufflenet-ros evaluate` with these arguments."""
    return partial(run_verb, 'evaluate')


@pytest.fixture(scope='session')
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with obvious results: a red image is `red`."""
    pytest.importorskip('onnx', reason='needs the extra export')
    from tiny_bundle import tiny_bundle
    return tiny_bundle(tmp_path_factory.mktemp('model') / 'tiny.onnx')
