"""One torch thread: at these sizes a second one costs more than it brings, and other work runs beside."""

import importlib.util
from pathlib import Path

import pytest

try:
    import torch
    torch.set_num_threads(1)
except ModuleNotFoundError:
    pass  # The tests of this room skip themselves.

_spec = importlib.util.spec_from_file_location('zoo_sets', Path(__file__).with_name('sets.py'))
_sets = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_sets)


@pytest.fixture(scope='session')
def write_set():
    """`sets.write_set`: a tar of three colours, learnt in seconds."""
    return _sets.write_set


@pytest.fixture(scope='session')
def tiny_tar(tmp_path_factory):
    return _sets.write_set(tmp_path_factory.mktemp('set') / 'tiny.tar')
