# SPDX-License-Identifier: Apache-2.0
"""The estimates in docs/deployment.md follow from counted instructions, and its figures from the unit."""

from __future__ import annotations

import json
import re

from shufflenet_ros.core.service_manager import LOADING_S

DEFAULT = 'shufflenet_v2_x1_0'
RANGE = r'([\d.]+) to ([\d.]+)'


def test_the_estimates_follow_from_the_counts(repo_root):
    counts = json.loads((repo_root / 'docs' / 'arm.json').read_text())['networks'][DEFAULT]['native']
    page = (repo_root / 'docs' / 'deployment.md').read_text()
    rows = re.findall(rf'^\| [^|]+ \| Cortex[^|]+ \| ([\d.]+) GHz \| {RANGE} \| (.*) \|$', page, re.M)
    assert len(rows) == 3
    for clock, slow, fast, times in rows:
        for precision, cell in zip(('int8', 'fp16', 'fp32'), times.split('|')):
            if cell.strip():
                expected = [counts[precision] / float(rate) / float(clock) / 1e6 for rate in (fast, slow)]
                assert cell.strip() == '{:.1f} to {:.1f}'.format(*expected)


def test_the_page_has_the_units_figures(repo_root):
    page = (repo_root / 'docs' / 'deployment.md').read_text()
    unit = dict(re.findall(r'^(\w+)=(\S+)$', (repo_root / 'config' / 'shufflenet.service').read_text(), re.M))
    assert unit['TimeoutStartSec'] == str(LOADING_S)
    watchdog, restart = unit['WatchdogSec'], unit['RestartSec']
    for text in (f'After {watchdog} s without', f'may take {LOADING_S} s', f'after {restart} s, always'):
        assert text in page, text
