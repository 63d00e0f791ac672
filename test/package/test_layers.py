# SPDX-License-Identifier: Apache-2.0
"""Imports point one way, checked on what really gets loaded: the run-time half of import-linter."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# Which of the other packages, and of the libraries that not every package may use, a package may load.
BELOW = {
    'core': set(),
    'bags': {'core', 'rosbags'},
    'bundles': {'core'},
    'pages': {'core'},
    'backends': {'bundles', 'core', 'onnx', 'onnxruntime'},
}
BELOW['datasets'] = {*BELOW['backends'], *BELOW['bags'], 'backends', 'bags'}
BELOW['zoo'] = {*BELOW['backends'], 'backends', 'torch'}
BELOW['packer'] = {*BELOW['datasets'], 'datasets', 'onnx'}
BELOW['importers'] = {*BELOW['datasets'], *BELOW['zoo'], 'datasets', 'zoo', 'onnx'}
BELOW['training'] = {*BELOW['importers'], *BELOW['packer'], 'importers', 'packer'}
BELOW['ros'] = {*BELOW['backends'], *BELOW['bags'], 'backends', 'bags', 'pages', 'rclpy'}
BELOW['doctor'] = {*BELOW['ros'], 'ros'}
WATCHED = {*BELOW, 'onnx', 'onnxruntime', 'rclpy', 'rosbags', 'torch'}
# These two take longest to import. import-linter checks them too.
SLOW = () if os.environ.get('SHUFFLENET_TEST_FULL') else ('importers', 'training')

LOAD = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
print(*sorted(sys.modules))
"""


def loaded_by(name: str, root: Path) -> set[str]:
    """The watched packages and libraries in sys.modules after every module of the package was imported."""
    files = [path for path in sorted(root.glob(f'{name}/**/*.py')) if path.name != '__init__.py']
    modules = ['.'.join(('shufflenet_ros', *path.relative_to(root).with_suffix('').parts)) for path in files]
    assert modules, f'package {name} is empty'
    done = subprocess.run([sys.executable, '-c', LOAD, *modules], cwd=root.parent, text=True,
                          capture_output=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    loaded = done.stdout.split()
    packages = {module.split('.')[1] for module in loaded if module.startswith('shufflenet_ros.')}
    return (packages | {module.split('.')[0] for module in loaded}) & WATCHED


@pytest.mark.parametrize('name', [name for name in BELOW if name not in SLOW])
def test_a_package_loads_only_what_lies_below(name, repo_root):
    for library in {'rclpy', 'torch'} & BELOW[name]:
        pytest.importorskip(library, reason=f'package {name} needs {library}')
    assert loaded_by(name, repo_root / 'shufflenet_ros') <= BELOW[name] | {name}
