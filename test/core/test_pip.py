# SPDX-License-Identifier: Apache-2.0
"""The commands for pip fit the Python that runs. test/backends/test_choice.py has those that install."""

import sys
import sysconfig
from pathlib import Path

import pytest

from shufflenet_ros.core.pip import pip_uninstall


@pytest.mark.parametrize(('environment', 'guarded', 'options'), [
    (True, True, ''), (False, False, ''), (False, True, ' --break-system-packages')])
def test_a_protected_python_needs_an_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                            environment: bool, guarded: bool, options: str) -> None:
    monkeypatch.setattr(sys, 'base_prefix', str(tmp_path) if environment else sys.prefix)
    monkeypatch.setattr(sysconfig, 'get_path', lambda name: str(tmp_path))
    if guarded:
        (tmp_path / 'EXTERNALLY-MANAGED').touch()
    assert pip_uninstall('numpy') == f'{sys.executable} -m pip uninstall{options} numpy'
