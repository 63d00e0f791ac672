# SPDX-License-Identifier: Apache-2.0
"""`models list` and `models show`: networks, bundles and downloads as rows of one shape."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from onnx_models import card, classifier, write

from shufflenet_ros.bundles import locate
from shufflenet_ros.bundles.index import IndexEntry, write_entries, write_index
from shufflenet_ros.cli import main as cli

INT8 = 'shufflenet_v2_x1_0-imagenet-224-int8'
NETWORKS = [
    {'name': 'test_network', 'family': 'test', 'params': 1_234_567, 'macs': 98_765_432,
     'conv_macs': 98_000_000, 'embedding_dim': 6, 'note': 'ours',
     'published': {'top1_error': 41.6, 'source': 'a paper'}},
    {'name': 'shufflenet_v2_x1_0', 'family': 'shufflenet_v2', 'params': 2_278_604, 'macs': 144_907_992,
     'conv_macs': 143_883_992, 'embedding_dim': 1024, 'published': None, 'note': ''},
]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone with a table of two networks and one bundle, and an empty cache; the clone's models folder."""
    clone, cache = tmp_path / 'clone', tmp_path / 'cache'
    models = clone / 'models'
    models.mkdir(parents=True)
    (clone / 'package.xml').touch()
    (models / 'networks.json').write_text(json.dumps({'schema': 1, 'networks': NETWORKS}))
    values = card(name='walker', network='test_network', metrics={'top1': 0.5, 'images': 10})
    write(models / 'walker.onnx', classifier(), values)
    write_index(models)
    monkeypatch.setattr(locate, '_PACKAGE', clone / 'shufflenet_ros')
    monkeypatch.setattr(locate.sysconfig, 'get_path', lambda name: str(tmp_path / 'nothing'))
    monkeypatch.setattr(locate.site, 'getuserbase', lambda: str(tmp_path / 'nothing'))
    monkeypatch.delenv('AMENT_PREFIX_PATH', raising=False)
    monkeypatch.setenv('XDG_CACHE_HOME', str(cache))
    return models


def printed(capsys: pytest.CaptureFixture[str], *arguments: object, status: int = 0) -> str:
    capsys.readouterr()
    assert cli.main(['models', *map(str, arguments)]) == status
    return capsys.readouterr().out


def listed(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[dict[str, Any]]:
    return [json.loads(line) for line in printed(capsys, 'list', '--json', *arguments).splitlines()]


def shown(capsys: pytest.CaptureFixture[str], name: object) -> dict[str, Any]:
    row, = map(json.loads, printed(capsys, 'show', name, '--json').splitlines())
    return dict(row)


def test_every_row_has_the_same_keys_and_the_kinds_come_in_order(
        machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = listed(capsys)
    assert len({tuple(row) for row in rows}) == 1
    kinds = [row['kind'] for row in rows]
    assert kinds == sorted(kinds, key=['network', 'bundle', 'download'].index)
    assert kinds.count('network') == 2 and kinds.count('bundle') == 1 and kinds.count('download') == 16
    for kind in ('network', 'bundle', 'download'):
        assert listed(capsys, '--kind', kind) == [row for row in rows if row['kind'] == kind]
    for row in rows[-16:]:  # nothing unknown is guessed
        assert (row['size'] is None) == (row['check'] != 'sha256')
        assert row['measured'] is None and row['sha256'] is None


def test_a_network_row_lists_its_weights(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ours, public = listed(capsys, '--kind', 'network')
    assert {key: ours[key] for key in NETWORKS[0]} == NETWORKS[0]
    assert ours['weights'] == ['walker'] and ours['measured'] == {'walker': {'top1': 0.5, 'images': 10}}
    assert ours['terms'] == {'walker': 'none needed'}
    assert public['published'] is None and public['measured'] == {}
    assert public['weights'] == [INT8, 'shufflenet_v2_x1_0-torchvision']
    assert all('non-commercial' in terms for terms in public['terms'].values())


def test_a_bundle_row_has_its_figures(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    walker, = listed(capsys, '--kind', 'bundle')
    assert walker['measured'] == walker['metrics'] == {'top1': 0.5, 'images': 10}
    assert walker['weights'] == walker['path'] == str(machine / 'walker.onnx')
    assert walker['published'] is None and walker['terms'] == 'none needed' and walker['check'] is None


def test_a_download_row_says_whether_it_is_here(
        machine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row, = (row for row in listed(capsys, '--kind', 'download') if row['name'].endswith('x1_0-torchvision'))
    assert row['fetched'] is False and row['weights'] == row['url'] and row['url'].startswith('https://')
    assert row['sha256'] is None and row['size'] is None and row['check'] == 'sha256_prefix'
    assert (row['params'], row['published']['top1_error']) == (2_278_604, 30.638)
    weights = tmp_path / 'cache' / 'shufflenet_ros' / 'weights'
    weights.mkdir(parents=True)
    (weights / 'shufflenetv2_x1-5666bf0f80.pth').write_bytes(b'x')
    pin = IndexEntry('shufflenetv2_x1-5666bf0f80.pth', hashlib.sha256(b'x').hexdigest(), 1, 'sha256_prefix')
    write_entries(weights, {row['name']: pin})
    here = shown(capsys, row['name'])
    assert here['fetched'] and here['weights'] == str(weights / pin.file) and here['sha256'] == pin.sha256
    assert here['check_means'].startswith('checked against the first digits of its sha256')
    assert '5666bf0f80' in here['check_means']
    assert 'pinned since the first fetch' in here['check_means']


def test_the_publishers_figures_do_not_count_as_measured(
        machine: Path, tmp_path: Path, shared_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models = tmp_path / 'cache' / 'shufflenet_ros' / 'models'
    models.mkdir(parents=True)
    data = (shared_data / 'shufflenet_v2_x1_0_int8.onnx').read_bytes()
    (models / f'{INT8}.onnx').write_bytes(data)
    pin = IndexEntry(f'{INT8}.onnx', hashlib.sha256(data).hexdigest(), len(data), 'sha256')
    write_entries(models, {INT8: pin})
    row = shown(capsys, INT8)
    assert row['kind'] == 'bundle' and row['measured'] is None and row['published']['top1_error'] == 33.85
    assert row['check'] == 'sha256' and 'checked against the full sha256' in row['check_means']
    download, = (row for row in listed(capsys, '--kind', 'download') if row['name'] == INT8)
    assert download['fetched'] and download['weights'] == str(models / f'{INT8}.onnx')


def test_the_text_is_a_table(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (machine / 'cardless.onnx').write_bytes(classifier().SerializeToString())
    lines = printed(capsys, 'list').splitlines()
    header, ours, public = lines[:3]
    assert header.split('  ')[0].strip() == 'network' and header.endswith('weights')
    for text in ('1,234,567', '98.8', '41.60 %', '50.0 %'):
        assert ours.index(text) + len(text) in {header.index(name) + len(name) for name in (
            'params', 'M MACs', 'published top-1 error', 'measured top-1')}
    assert ours.endswith('  walker') and '-torchvision' in public
    assert any(line.startswith('cardless') and 'cannot be used' in line for line in lines)


@pytest.mark.parametrize('name', ['test_network', 'walker', 'shufflenet_v1_x1_0_g3-pytorchcv', 'PATH'])
def test_show_takes_every_name(name: str, machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = shown(capsys, machine / 'walker.onnx' if name == 'PATH' else name)
    assert row['name'] == ('walker' if name == 'PATH' else name)
    assert bool(row['card']) == (row['kind'] == 'bundle')
    assert row['name'] in printed(capsys, 'show', row['name'])
    assert cli.main(['models', 'show', 'resnet']) == 2
    assert 'see `shufflenet-ros models list`' in capsys.readouterr().err


@pytest.mark.parametrize(('text', 'cause'), [
    ('{', 'expected a table of networks'), ('[]', 'expected a table of networks'),
    ('{"schema": 2, "networks": []}', 'expected schema 1, got 2'),
    ('{"schema": 1, "networks": [{"name": "x"}]}', 'networks[0].family: missing'),
    (json.dumps({'schema': 1, 'networks': [NETWORKS[0] | {'params': '7'}]}), "networks[0].params: got '7'"),
])
def test_a_bad_table_is_rejected(
        text: str, cause: str, machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (machine / 'networks.json').write_text(text)
    assert cli.main(['models', 'list']) == 2
    assert cause in capsys.readouterr().err


def test_without_a_table_or_with_a_broken_index_the_rest_is_listed(
        machine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = tmp_path / 'cache' / 'shufflenet_ros' / 'weights'
    weights.mkdir(parents=True)
    (weights / 'index.json').write_text('{')
    rows = listed(capsys)
    assert len(rows) == 19 and sum('expected an index' in (row['error'] or '') for row in rows) == 15
    (machine / 'networks.json').unlink()
    assert {row['kind'] for row in listed(capsys)} == {'bundle', 'download'}
    assert printed(capsys, 'list', '--kind', 'network') == ''


def test_the_real_tables_name_the_same_networks_without_torch(python: Callable[..., Any]) -> None:
    code = ('import sys; from shufflenet_ros.cli.main import main; main(["models", "list", "--json"]); '
            'assert not {"torch", "onnxruntime"} & set(sys.modules)')
    done = python('-c', code)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    networks = {row['name'] for row in rows if row['kind'] == 'network'}
    assert {row['network'] for row in rows if row['kind'] == 'download'} <= networks
    shipped = next(row for row in rows if row['kind'] == 'bundle' and row['location'] == 'source tree')
    # without the stem's pool it is not in the registry; its card says how to build it
    assert shipped['network'] == 'shufflenet_v1_custom' and shipped['params'] and shipped['macs']


def test_a_bundle_in_two_directories_is_listed_once_as_the_one_that_is_used(
        machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    installed = tmp_path / 'prefix' / 'share' / 'shufflenet_ros' / 'models'
    installed.mkdir(parents=True)
    monkeypatch.setenv('AMENT_PREFIX_PATH', str(tmp_path / 'prefix'))
    copy = installed / 'walker.onnx'
    copy.write_bytes((machine / 'walker.onnx').read_bytes())
    walker, = listed(capsys, '--kind', 'bundle')
    assert walker['path'] == str(machine / 'walker.onnx') and walker['note'] is None
    values = card(name='walker', network='test_network', metrics={'top1': 0.25, 'images': 9})
    write(copy, classifier(), values)
    walker, = listed(capsys, '--kind', 'bundle')
    assert walker['path'] == str(machine / 'walker.onnx') and walker['metrics']['top1'] == 0.5
    sha256 = hashlib.sha256(copy.read_bytes()).hexdigest()[:12]
    note = f'not used: {copy} (ament), another file of this name (sha256 {sha256})'
    assert walker['note'] == note and walker['location'] == 'source tree'
    assert listed(capsys, '--kind', 'network')[0]['weights'] == ['walker']
    lines = printed(capsys, 'list').splitlines()
    assert f'walker: {note}' in lines and sum(line.startswith('walker  ') for line in lines) == 1
