# SPDX-License-Identifier: Apache-2.0
"""What a robot runs on: the Python packages of a release, without ONNX Runtime and with it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import environments
import pytest
from shell import CACHE, clean_environment

# Python, NumPy, OpenCV
VERSIONS = {'jammy': ['3.10', '1.21.5', '4.5.4'], 'noble': ['3.12', '1.26.4', '4.6.0'],
            'bookworm': ['3.11', '1.24.2', '4.6.0'], 'trixie': ['3.13', '2.2.4', '4.10.0']}
CHOICE = 'test/backends/test_choice.py'
KERNELS = 'test/backends/test_native.py::test_all_kernels_match_onnxruntime'
# For each release, the tests without ONNX Runtime and those with it. By default these are the tests that
# depend most on the versions, and the oldest versions get more of them.
RAW = ['test/core/test_image.py', 'test/core/test_preprocess.py']
IMAGES = [*RAW, 'test/core/test_compressed.py']
WITHOUT = {'jammy': [*IMAGES, 'test/core/test_damaged.py', 'test/datasets'],
           'noble': IMAGES, 'bookworm': RAW, 'trixie': RAW}
WITH = {'jammy': ['test/backends/test_ort.py', KERNELS], 'noble': [KERNELS], 'bookworm': [KERNELS],
        'trixie': [KERNELS]}
if os.environ.get('SHUFFLENET_TEST_FULL'):
    WITHOUT = {release: ['test/core', 'test/datasets'] for release in VERSIONS}
    WITH = {release: ['test/bundles', 'test/backends'] for release in VERSIONS}


@pytest.fixture(scope='module', params=VERSIONS)
def release(request: pytest.FixtureRequest) -> str:
    """Each release; its environment is filled."""
    name = str(request.param)
    if environments.release_environment(name) is None:
        message = f'needs python{environments.RELEASES[name]} on PATH or in pyenv'
        if os.environ.get('CI'):
            pytest.fail(message)
        pytest.skip(message)
    return name


@pytest.fixture
def without_onnxruntime(tmp_path: Path) -> Path:
    """A folder that hides ONNX Runtime when it is the first on PYTHONPATH, from child processes too."""
    (tmp_path / 'onnxruntime.py').write_text(
        "raise ModuleNotFoundError(\"No module named 'onnxruntime'\", name='onnxruntime')")
    return tmp_path


def python(name: str, root: Path, library: Path, *arguments: object, first: Path | None = None
           ) -> subprocess.CompletedProcess[str]:
    """Run that release's Python on the source tree."""
    path = ':'.join(str(folder) for folder in (first, root) if folder)
    environment = clean_environment(PYTHONPATH=path, SHUFFLENET_NATIVE_LIBRARY=str(library))
    return subprocess.run([CACHE / name / 'bin/python', *map(str, arguments)], env=environment, cwd=root,
                          text=True, capture_output=True, check=False)


def passes(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0 and ' passed' in done.stdout, done.stdout[-8000:] + done.stderr[-2000:]


def test_the_versions_are_the_releases_own_with_onnxruntime_beside_them(release, repo_root, native_library):
    code = ('import sys, numpy, cv2, onnxruntime; '
            'print(sys.version[:4], numpy.__version__, cv2.__version__)')
    assert python(release, repo_root, native_library, '-c', code).stdout.split() == VERSIONS[release]


def test_images_datasets_and_native_kernels_pass_without_onnxruntime(
        release, repo_root, native_library, without_onnxruntime, shared_data):
    tests = [*WITHOUT[release], f'{CHOICE}::test_native_variants_run_without_onnxruntime',
             f'{CHOICE}::test_a_machine_with_neither_runtime_reports_what_is_missing']
    passes(python(release, repo_root, native_library, '-m', 'pytest', '-q', *tests,
                  first=without_onnxruntime))


def test_both_backends_pass(release, repo_root, native_library, shared_data):
    passes(python(release, repo_root, native_library, '-m', 'pytest', '-q', *WITH[release]))


def test_photos_are_classified_without_onnxruntime_and_with_it(
        release, repo_root, native_library, without_onnxruntime, shared_data, tmp_path, monkeypatch):
    photos = shared_data / 'photos'
    names = {file: photo['name'] for file, photo in json.loads((photos / 'labels.json').read_text()).items()}
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    for first in (without_onnxruntime, None):
        done = python(release, repo_root, native_library, '-m', 'shufflenet_ros.cli', 'classify', photos,
                      '--json', first=first)
        assert done.returncode == 0, done.stderr
        assert ('onnxruntime fp32 is left out: ' in done.stderr) == bool(first), done.stderr
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        labels = {Path(line['source']).name: line['predictions'][0]['name'] for line in lines}
        assert sum(labels[file] == name for file, name in names.items()) >= 30, labels


def test_with_neither_kernels_nor_onnxruntime_the_error_says_what_to_type(
        release, repo_root, without_onnxruntime, tmp_path):
    done = python(release, repo_root, tmp_path / 'gone.so', '-m', 'shufflenet_ros.cli', 'classify',
                  repo_root / 'docs/demo.png', first=without_onnxruntime)
    assert done.returncode == 2 and done.stderr.count('\n') == 1
    assert 'gone.so: no such file' in done.stderr
    assert done.stderr.strip().endswith('-m pip install --no-deps onnxruntime')
