# SPDX-License-Identifier: Apache-2.0
"""Checkpoints on a full disk: the old one stays."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest
import torch

from shufflenet_ros.core.files import WriteError
from shufflenet_ros.zoo.saving import save_state


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    path, limits = tmp_path / 'checkpoint.pt', resource.getrlimit(resource.RLIMIT_FSIZE)
    save_state(path, {'step': 1})
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(WriteError, match='checkpoint.pt cannot be written: File too large; '):
            save_state(path, {'step': 2, 'model': torch.zeros(10_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert torch.load(path, weights_only=True) == {'step': 1}
