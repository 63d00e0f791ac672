# SPDX-License-Identifier: Apache-2.0
"""If cv2 lacks a system library, headless OpenCV of the same version replaces it."""

from __future__ import annotations

import sys
from pathlib import Path

import environments
import opencv
import pytest
from shell import SetupError, pip_install, run

NO_LIBGL = 'libGL.so.1: cannot open shared object file: No such file or directory'


@pytest.fixture(scope='module')
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with opencv-python in it."""
    path = tmp_path_factory.mktemp('opencv') / 'venv'
    run([sys.executable, '-m', 'venv', path])
    pip_install(path, '-c', environments.CONSTRAINTS, 'opencv-python')
    return path


def installed(venv: Path) -> dict[str, str]:
    lines = run([venv / 'bin/python', '-m', 'pip', 'list', '--format=freeze']).split()
    return dict(line.split('==') for line in lines if line.startswith('opencv'))


def test_the_swap_is_made_by_pip_and_cv2_imports_afterwards(venv):
    before = installed(venv)
    # Only the first error is made up: hiding libGL would break the machine for others.
    errors = iter([NO_LIBGL])
    note = opencv.ensure_importable(venv, lambda venv: next(errors, None) or opencv.import_error(venv))
    assert installed(venv) == {'opencv-python-headless': before['opencv-python']}
    assert opencv.import_error(venv) == ''
    assert note and 'libGL.so.1' in note
    assert f'opencv-python-headless {before["opencv-python"]} takes the place of opencv-python' in note


def test_nothing_is_done_where_cv2_imports(venv):
    before = installed(venv)
    assert opencv.ensure_importable(venv) is None
    assert installed(venv) == before


def test_another_reason_is_passed_on(venv):
    with pytest.raises(SetupError, match=r'numpy\.core.multiarray failed'):
        opencv.ensure_importable(venv, lambda venv: 'numpy.core.multiarray failed to import')


def test_a_real_import_error_is_read(tmp_path):
    venv = tmp_path / 'venv'
    run([sys.executable, '-m', 'venv', '--without-pip', venv])
    assert opencv.import_error(venv) == "No module named 'cv2'"
