"""The command as a user runs it, and a model whose answers a person can foresee."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from shufflenet_ros.cli import main as cli


@dataclass(frozen=True)
class Ran:
    """What a command left behind."""

    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Stdout as JSON lines; anything else on it fails."""
        return [json.loads(line) for line in self.out.splitlines()]


@pytest.fixture
def classify(capfd: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Run `shufflenet-ros classify` with these arguments."""
    def run(*arguments: str | Path) -> Ran:
        capfd.readouterr()
        try:
            status = cli.main(['classify', *map(str, arguments)])
        except SystemExit as end:  # argparse's own way out
            status = int(end.code or 0)
        return Ran(status, *capfd.readouterr())
    return run


@pytest.fixture(scope='session')
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose answers are plain: a red image is `red`. Made by the node's tests' own recipe."""
    pytest.importorskip('onnx', reason='needs the extra export')
    from tiny_bundle import tiny_bundle
    return tiny_bundle(tmp_path_factory.mktemp('model') / 'tiny.onnx')
