# SPDX-License-Identifier: Apache-2.0
"""pre-commit runs the versions that `make lint` runs."""

from __future__ import annotations

import pytest
import yaml

HOOKS = {'ruff-check': 'ruff', 'codespell': 'codespell', 'clang-format': 'clang-format'}


@pytest.mark.parametrize('hook', HOOKS)
def test_a_tool_has_one_version(hook, repo_root):
    config = yaml.safe_load((repo_root / '.pre-commit-config.yaml').read_text())
    revisions = {entry['id']: repo.get('rev', '') for repo in config['repos'] for entry in repo['hooks']}
    pins = (repo_root / 'scripts/requirements/constraints.txt').read_text().splitlines()
    assert f'{HOOKS[hook]}=={revisions[hook].removeprefix("v")}' in pins
