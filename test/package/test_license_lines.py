# SPDX-License-Identifier: Apache-2.0
"""Every source file names its license, as ament_copyright asks for it."""

from __future__ import annotations

import pytest

LINE = 'SPDX-License-Identifier: Apache-2.0'
SUFFIXES = {'.py', '.c', '.h', '.sh', '.yml'}
FOLDERS = ('.github', 'benchmarks', 'demo', 'launch', 'native', 'scripts', 'shufflenet_ros', 'test')
# Programs without a suffix, and files at the top.
OTHERS = ('.ci/run', '.ci/ros', '.pre-commit-config.yaml', 'Makefile', 'setup.py')


def named(path) -> bool:
    """Whether one of the first two lines is it: a program's first line names its interpreter."""
    with path.open(encoding='utf-8') as file:
        return any(LINE in line for _, line in zip(range(2), file))


@pytest.mark.parametrize('folder', FOLDERS)
def test_source_files_name_their_license(folder, repo_root):
    paths = [path for path in (repo_root / folder).rglob('*') if path.suffix in SUFFIXES]
    assert paths
    assert not [str(path.relative_to(repo_root)) for path in paths if not named(path)]


@pytest.mark.parametrize('name', OTHERS)
def test_other_files_name_their_license(name, repo_root):
    assert named(repo_root / name)
