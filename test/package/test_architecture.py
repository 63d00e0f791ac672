# SPDX-License-Identifier: Apache-2.0
"""docs/architecture.md shows the enforced layers, no page names a missing file, drop reasons are listed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from shufflenet_ros.core.encodings import ENCODINGS
from shufflenet_ros.core.reasons import DropReason

try:
    import tomllib
except ImportError:  # Python 3.10
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
LAYER = re.compile(r'^(\w+(?: \| \w+)*)  +\S', re.MULTILINE)
LINK = re.compile(r'\]\(([^)#:]+)[^):]*\)')  # to files, not to URLs
CODE = re.compile(r'`([^`\s]+)`')
PATH = re.compile(r'\.?[\w-]+(/[\w.-]*)+|[\w-]+\.(py|md|toml|yaml|yml|rst)')


def test_the_drawing_has_the_layers_of_the_import_contract():
    contracts = tomllib.loads((ROOT / 'pyproject.toml').read_text())['tool']['importlinter']['contracts']
    enforced = [contract['layers'] for contract in contracts if contract['type'] == 'layers']
    drawing = (ROOT / 'docs/architecture.md').read_text().split('```')[1]
    assert [LAYER.findall(drawing)] == enforced


def test_every_package_is_in_the_drawing():
    drawing = (ROOT / 'docs/architecture.md').read_text().split('```')[1]
    packages = {path.parent.name for path in (ROOT / 'shufflenet_ros').glob('*/__init__.py')}
    assert set(re.findall(r'\w+', ' '.join(LAYER.findall(drawing)))) == packages


@pytest.mark.parametrize('page', ['CONTRIBUTING.md', 'docs/architecture.md'])
def test_every_path_on_a_page_exists(page):
    paths = {path for path in CODE.findall((ROOT / page).read_text()) if PATH.fullmatch(path)}
    assert len(paths) > 3
    folders = ROOT, ROOT / 'shufflenet_ros'
    assert not [path for path in paths if not any((folder / path).exists() for folder in folders)]


def test_every_link_between_pages_works():
    pages = [*ROOT.glob('*.md'), *ROOT.glob('docs/*.md'), *ROOT.glob('models/*.md')]
    links = {(page, link) for page in pages for link in LINK.findall(page.read_text())}
    assert len(links) > 30
    assert not [f'{page.name}: {link}' for page, link in links if not (page.parent / link).exists()]


@pytest.mark.parametrize(('heading', 'column', 'expected'), [
    ('Dropped frames', 0, set(DropReason)), ('Encodings', 1, set(ENCODINGS))])
def test_troubleshooting_lists_every_drop_reason_and_encoding(heading, column, expected):
    section = (ROOT / 'docs/troubleshooting.md').read_text().split(f'## {heading}\n')[1].split('\n## ')[0]
    _, _, *rows = (line.split(' | ') for line in section.splitlines() if line.startswith('|'))
    assert {name for row in rows for name in CODE.findall(row[column])} == expected
