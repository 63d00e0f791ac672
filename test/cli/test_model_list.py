# SPDX-License-Identifier: Apache-2.0
"""`models list` and `models show`: networks, bundles and downloads as rows of one shape."""

import json
from pathlib import Path

import pytest
from onnx_models import card, classifier, write

from shufflenet_ros.bundles import locate
from shufflenet_ros.bundles.files import sha256_of
from shufflenet_ros.bundles.index import IndexEntry, write_entries, write_index

INT8 = 'shufflenet_v2_x1_0-imagenet-224-int8'
NETWORKS = [
    {'name': 'test_network', 'family': 'test', 'params': 1_234_567, 'macs': 98_765_432,
     'conv_macs': 98_000_000, 'embedding_dim': 6, 'note': 'ours',
     'published': {'top1_error': 41.6, 'source': 'a paper'}},
    {'name': 'shufflenet_v2_x1_0', 'family': 'shufflenet_v2', 'params': 2_278_604, 'macs': 144_907_992,
     'conv_macs': 143_883_992, 'embedding_dim': 1024, 'published': None, 'note': ''},
]


@pytest.fixture
def machine(tmp_path, monkeypatch) -> Path:
    """A clone with a table of two networks and one bundle, and an empty cache; the clone's models folder."""
    clone = tmp_path / 'clone'
    folder = clone / 'models'
    folder.mkdir(parents=True)
    (clone / 'package.xml').touch()
    (folder / 'networks.json').write_text(json.dumps({'schema': 1, 'networks': NETWORKS}))
    values = card(name='walker', network='test_network', metrics={'top1': 0.5, 'images': 10})
    write(folder / 'walker.onnx', classifier(), values)
    write_index(folder)
    monkeypatch.setattr(locate, '_PACKAGE', clone / 'shufflenet_ros')
    monkeypatch.setattr(locate.sysconfig, 'get_path', lambda name: str(tmp_path / 'nothing'))
    monkeypatch.setattr(locate.site, 'getuserbase', lambda: str(tmp_path / 'nothing'))
    monkeypatch.delenv('AMENT_PREFIX_PATH', raising=False)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    return folder


@pytest.fixture
def in_cache(tmp_path):
    """Write a file into a folder of the cache, with the index entry of a download."""
    def add(kind: str, name: str, file: str, data: bytes, check: str) -> tuple[Path, IndexEntry]:
        folder = tmp_path / 'cache' / 'shufflenet_ros' / kind
        folder.mkdir(parents=True)
        (folder / file).write_bytes(data)
        entry = IndexEntry.of(file, data, check)
        write_entries(folder, {name: entry})
        return folder / file, entry
    return add


@pytest.fixture
def listed(models):
    return lambda *arguments: models('list', '--json', *arguments).lines


@pytest.fixture
def shown(models):
    return lambda name: models('show', name, '--json').lines[0]


def test_every_row_has_the_same_keys_and_the_kinds_come_in_order(machine, listed):
    rows = listed()
    assert len({tuple(row) for row in rows}) == 1
    assert [row['kind'] for row in rows] == ['network'] * 2 + ['bundle'] + ['download'] * 16
    for kind in ('network', 'bundle', 'download'):
        assert listed('--kind', kind) == [row for row in rows if row['kind'] == kind]
    for row in rows[-16:]:  # nothing unknown is guessed
        assert (row['size'] is None) == (row['check'] != 'sha256')
        assert row['measured'] is None and row['sha256'] is None


def test_a_network_row_lists_its_weights(machine, listed):
    ours, public = listed('--kind', 'network')
    assert {key: ours[key] for key in NETWORKS[0]} == NETWORKS[0]
    assert ours['weights'] == ['walker'] and ours['measured'] == {'walker': {'top1': 0.5, 'images': 10}}
    assert ours['terms'] == {'walker': 'none needed'}
    assert public['published'] is None and public['measured'] == {}
    assert public['weights'] == [INT8, 'shufflenet_v2_x1_0-torchvision']
    assert all('non-commercial' in terms for terms in public['terms'].values())


def test_a_bundle_row_has_its_figures(machine, listed):
    walker, = listed('--kind', 'bundle')
    assert walker['measured'] == walker['metrics'] == {'top1': 0.5, 'images': 10}
    assert walker['weights'] == walker['path'] == str(machine / 'walker.onnx')
    assert walker['published'] is None and walker['terms'] == 'none needed' and walker['check'] is None
    assert [walker[key] for key in ('name', 'labels', 'embedding_dim', 'trusted')] == ['walker', 4, 6, True]
    assert walker['input'] == 'NHWC uint8 8x8'


def test_a_download_row_says_whether_it_is_here(machine, in_cache, listed, shown):
    row, = (row for row in listed('--kind', 'download') if row['name'].endswith('x1_0-torchvision'))
    assert row['fetched'] is False and row['weights'] == row['url'] and row['url'].startswith('https://')
    assert row['sha256'] is None and row['size'] is None and row['check'] == 'sha256_prefix'
    assert (row['params'], row['published']['top1_error']) == (2_278_604, 30.638)
    file = 'shufflenetv2_x1-5666bf0f80.pth'
    path, entry = in_cache('weights', row['name'], file, b'x', 'sha256_prefix')
    here = shown(row['name'])
    assert here['fetched'] and here['weights'] == str(path) and here['sha256'] == entry.sha256
    assert here['check_means'].startswith('checked against the first digits of its sha256')
    assert '5666bf0f80' in here['check_means']
    assert 'pinned since the first fetch' in here['check_means']


def test_the_publishers_figures_do_not_count_as_measured(machine, in_cache, shared_data, listed, shown):
    data = (shared_data / 'shufflenet_v2_x1_0_int8.onnx').read_bytes()
    path, _ = in_cache('models', INT8, f'{INT8}.onnx', data, 'sha256')
    row = shown(INT8)
    assert row['kind'] == 'bundle' and row['measured'] is None and row['published']['top1_error'] == 33.85
    assert row['check'] == 'sha256' and 'checked against the full sha256' in row['check_means']
    download, = (row for row in listed('--kind', 'download') if row['name'] == INT8)
    assert download['fetched'] and download['weights'] == str(path)


def test_the_text_is_a_table(machine, models, listed):
    (machine / 'cardless.onnx').write_bytes(classifier().SerializeToString())
    lines = models('list').out.splitlines()
    header, ours, public = lines[:3]
    assert header.split('  ')[0].strip() == 'network' and header.endswith('weights')
    for text in ('1,234,567', '98.8', '41.60 %', '50.0 %'):
        assert ours.index(text) + len(text) in {header.index(name) + len(name) for name in (
            'params', 'M MACs', 'published top-1 error', 'measured top-1')}
    assert ours.endswith('  walker') and '-torchvision' in public
    assert any(line.startswith('walker ') and line.endswith(str(machine / 'walker.onnx')) for line in lines)
    cause = f'cannot be used: {machine / "cardless.onnx"}'
    assert any(line.startswith('cardless') and cause in line for line in lines)
    bad, = (row for row in listed() if row['name'] == 'cardless')
    assert 'expected a card' in bad['error']


@pytest.mark.parametrize('name', ['test_network', 'walker', 'shufflenet_v1_x1_0_g3-pytorchcv', 'PATH'])
def test_show_takes_every_name(name, machine, models, shown):
    row = shown(machine / 'walker.onnx' if name == 'PATH' else name)
    assert row['name'] == ('walker' if name == 'PATH' else name)
    assert bool(row['card']) == (row['kind'] == 'bundle')
    assert row['name'] in models('show', row['name']).out
    if row['card']:
        assert row['card']['labels'] == card()['labels']
        assert (row['ir_version'], row['opsets']) == (8, {'': 17})
        assert 'thing 3' in models('show', row['path']).out


def test_an_unknown_name_and_a_bad_table_are_one_error(machine, models):
    assert 'see `shufflenet-ros models list`' in models('show', 'resnet', status=2).err
    for text, cause in (
            ('{', 'expected a table of networks'), ('[]', 'expected a table of networks'),
            ('{"schema": 2, "networks": []}', 'expected schema 1, got 2'),
            ('{"schema": 1, "networks": [{"name": "x"}]}', 'networks[0].family: missing'),
            (json.dumps({'schema': 1, 'networks': [NETWORKS[0] | {'params': '7'}]}),
             "networks[0].params: got '7'")):
        (machine / 'networks.json').write_text(text)
        assert cause in models('list', status=2).err


def test_without_a_table_or_with_a_broken_index_the_rest_is_listed(machine, in_cache, models, listed):
    index, _ = in_cache('weights', 'any', 'any.pth', b'', 'sha256')
    index.with_name('index.json').write_text('{')
    rows = listed()
    assert len(rows) == 19 and sum('expected an index' in (row['error'] or '') for row in rows) == 15
    index, _ = in_cache('models', 'any', 'any.onnx', b'', 'sha256')
    index.with_name('index.json').write_text('{')
    broken = [row for row in listed('--kind', 'bundle') if row['location'] == 'cache']
    assert len(broken) == 1 and 'expected an index of models' in broken[0]['error'], 'the others are listed'
    (machine / 'networks.json').unlink()
    assert {row['kind'] for row in listed()} == {'bundle', 'download'}
    assert models('list', '--kind', 'network').out == ''


def test_the_real_tables_name_the_same_networks_without_torch(python):
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


def test_a_bundle_in_two_directories_is_listed_once(machine, tmp_path, monkeypatch, models, listed):
    installed = tmp_path / 'prefix' / 'share' / 'shufflenet_ros' / 'models'
    installed.mkdir(parents=True)
    monkeypatch.setenv('AMENT_PREFIX_PATH', str(tmp_path / 'prefix'))
    copy = installed / 'walker.onnx'
    copy.write_bytes((machine / 'walker.onnx').read_bytes())
    walker, = listed('--kind', 'bundle')
    assert walker['path'] == str(machine / 'walker.onnx') and walker['note'] is None
    values = card(name='walker', network='test_network', metrics={'top1': 0.25, 'images': 9})
    write(copy, classifier(), values)
    walker, = listed('--kind', 'bundle')
    assert walker['path'] == str(machine / 'walker.onnx') and walker['metrics']['top1'] == 0.5
    note = f'not used: {copy} (ament), another file of this name (sha256 {sha256_of(copy.read_bytes())[:12]})'
    assert walker['note'] == note and walker['location'] == 'source tree'
    assert listed('--kind', 'network')[0]['weights'] == ['walker']
    lines = models('list').out.splitlines()
    assert f'walker: {note}' in lines and sum(line.startswith('walker  ') for line in lines) == 1
