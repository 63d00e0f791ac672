"""core, backends and sets on the oldest libraries that a Humble robot brings."""

from __future__ import annotations

import subprocess

import environments
import pytest
from shell import clean_environment


def test_core_backends_and_sets_pass_on_the_oldest_libraries(repo_root, shared_data):
    venv = environments.oldest_environment()
    if venv is None:
        pytest.skip('needs python3.10 on PATH or in pyenv')
    versions = subprocess.run(
        [venv / 'bin/python', '-c', 'import sys, numpy, cv2, onnxruntime as o; '
         'print(sys.version.split()[0], numpy.__version__, cv2.__version__, o.__version__)'],
        env=clean_environment(), text=True, capture_output=True, check=True).stdout.split()
    assert [version.rsplit('.', 1)[0] for version in versions] == ['3.10', '1.26', '4.10', '1.23']
    done = subprocess.run([venv / 'bin/python', '-m', 'pytest', '-q', 'test/core', 'test/backends',
                           'test/sets'],
                          env=clean_environment(PYTHONPATH=str(repo_root)), cwd=repo_root, text=True,
                          capture_output=True, check=False)
    print(done.stdout.splitlines()[-1] if done.stdout else done.stderr)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
