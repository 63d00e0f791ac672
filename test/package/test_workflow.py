# SPDX-License-Identifier: Apache-2.0
"""The CI workflow, as far as a machine without GitHub can check it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

WORKFLOW = '.github/workflows/ci.yml'


def validate(schema: str, path: Path) -> subprocess.CompletedProcess[str]:
    pytest.importorskip('check_jsonschema', reason='needs scripts/requirements/test.txt')
    command = [sys.executable, '-m', 'check_jsonschema', '--builtin-schema', f'vendor.{schema}', path]
    return subprocess.run(command, text=True, capture_output=True, check=False)


def test_the_workflow_fits_its_schema(repo_root):
    done = validate('github-workflows', repo_root / WORKFLOW)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(('old', 'new'), [('runs-on:', 'runs_on:'), ('contents: read', 'contents: all')])
def test_a_broken_workflow_does_not(repo_root, tmp_path, old, new):
    (tmp_path / 'ci.yml').write_text((repo_root / WORKFLOW).read_text().replace(old, new))
    assert validate('github-workflows', tmp_path / 'ci.yml').returncode == 1


def test_every_job_is_bounded_and_every_action_pinned_by_its_major_version(repo_root):
    workflow = yaml.safe_load((repo_root / WORKFLOW).read_text())
    assert workflow['permissions'] == {'contents': 'read'}
    for job in workflow['jobs'].values():
        assert job['timeout-minutes'] <= 60
        actions = [step['uses'] for step in job['steps'] if 'uses' in step]
        assert actions and all(re.fullmatch(r'actions/[\w-]+@v\d+', action) for action in actions)


def test_what_the_jobs_run_exists(repo_root):
    script = (repo_root / '.ci/ros').read_text()
    subprocess.run(['bash', '-n', repo_root / '.ci/ros'], check=True)
    named = re.findall(r'(?:test|scripts|native)/[\w./-]*\w', script)
    assert 'test/core' in named and not [path for path in named if not (repo_root / path).exists()]
    jobs = yaml.safe_load((repo_root / WORKFLOW).read_text())['jobs']
    commands = ' '.join(step['run'] for job in jobs.values() for step in job['steps'] if 'run' in step)
    assert {'.ci/run', '.ci/ros'} <= set(commands.split())
