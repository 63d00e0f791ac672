# SPDX-License-Identifier: Apache-2.0
"""The CI workflow and the pre-commit hooks, as far as a machine without GitHub can check them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

WORKFLOW = '.github/workflows/ci.yml'
HOOKS = {'ruff-check': 'ruff', 'codespell': 'codespell', 'clang-format': 'clang-format'}


@pytest.fixture(scope='module')
def jobs(repo_root: Path) -> dict[str, Any]:
    workflow = yaml.safe_load((repo_root / WORKFLOW).read_text())
    assert workflow['permissions'] == {'contents': 'read'}
    return workflow['jobs']


@pytest.mark.parametrize(('old', 'new', 'status'), [
    ('', '', 0),
    ('runs-on:', 'runs_on:', 1),
    ('contents: read', 'contents: all', 1),
])
def test_the_workflow_fits_its_schema_and_a_broken_one_does_not(repo_root, tmp_path, old, new, status):
    pytest.importorskip('check_jsonschema', reason='needs scripts/requirements/test.txt')
    (tmp_path / 'ci.yml').write_text((repo_root / WORKFLOW).read_text().replace(old, new))
    command = [sys.executable, '-m', 'check_jsonschema', '--builtin-schema', 'vendor.github-workflows']
    done = subprocess.run([*command, tmp_path / 'ci.yml'], text=True, capture_output=True, check=False)
    assert done.returncode == status, done.stdout


def test_every_python_every_distribution_and_arm64_have_a_job(jobs):
    assert jobs['test']['strategy']['matrix']['python'] == ['3.10', '3.11', '3.12', '3.13']
    assert jobs['ros']['strategy']['matrix']['distribution'] == ['humble', 'jazzy', 'kilted', 'rolling']
    assert jobs['arm64']['runs-on'].endswith('-arm')
    builds = jobs['wheel']['strategy']['matrix']['include']
    assert {build['machine'] for build in builds} == {'aarch64', 'x86_64'}


def test_every_job_is_bounded_and_every_action_pinned_by_its_major_version(jobs):
    for job in jobs.values():
        assert job['timeout-minutes'] <= 60
        actions = [step['uses'] for step in job['steps'] if 'uses' in step]
        assert actions and all(re.fullmatch(r'actions/[\w-]+@v\d+', action) for action in actions)


def test_what_the_jobs_run_exists(jobs, repo_root):
    script = (repo_root / '.ci/ros').read_text()
    subprocess.run(['bash', '-n', repo_root / '.ci/ros'], check=True)
    named = re.findall(r'(?:test|scripts|native)/[\w./-]*\w', script)
    assert 'test/core' in named and not [path for path in named if not (repo_root / path).exists()]
    commands = {name: ' '.join(step.get('run', '') for step in job['steps']) for name, job in jobs.items()}
    assert '.ci/run' in commands['test'] and '.ci/ros' in commands['ros']
    assert all(command in commands['arm64'] for command in ('.ci/ros figures', 'make demo', 'make test'))
    assert 'pip wheel' in commands['wheel']


@pytest.mark.parametrize('hook', HOOKS)
def test_pre_commit_runs_the_version_that_make_lint_runs(hook, repo_root):
    config = yaml.safe_load((repo_root / '.pre-commit-config.yaml').read_text())
    revisions = {entry['id']: repo.get('rev', '') for repo in config['repos'] for entry in repo['hooks']}
    assert 'mypy' in revisions
    pins = (repo_root / 'scripts/requirements/constraints.txt').read_text().splitlines()
    assert f'{HOOKS[hook]}=={revisions[hook].removeprefix("v")}' in pins
