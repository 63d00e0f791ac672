"""The table of downloads: what it says, and that nothing half right is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from shufflenet_ros.bundles import catalog
from shufflenet_ros.bundles.catalog import CHECKS, file_hashes, find_download, read_downloads
from shufflenet_ros.bundles.errors import ModelError
from shufflenet_ros.bundles.index import IndexEntry, read_index, write_entries

TABLE = Path(catalog.__file__).with_name('catalog.yaml')


def test_the_table_has_what_was_published() -> None:
    table = read_downloads()
    sources = [download.source for download in table.values()]
    assert [sources.count(source) for source in dict.fromkeys(sources)] == [1, 4, 11]
    for download in table.values():
        assert ('sha1' in download.check_kind) == download.url.endswith('.zip') == download.zipped
        assert download.name.startswith(download.network + '-') and 'non-commercial' in download.terms
        assert 0 < download.top5_error < download.top1_error < 100
        assert download.runs == (download.file == f'{download.name}.onnx')
    torchvision = [d for d in table.values() if d.layout == 'torchvision_v2']
    assert all(d.url.endswith(f'-{d.check}.pth') and d.size is None for d in torchvision)
    pytorchcv = [d for d in table.values() if d.layout == 'pytorchcv_v1']
    for d in pytorchcv:
        assert d.url.endswith(f'-{round(100 * d.top5_error):04d}-{d.check[:8]}.pth.zip') and d.size is None


def test_the_int8_model_is_known_in_full(shared_data: Path) -> None:
    download = find_download('shufflenet_v2_x1_0-imagenet-224-int8')
    sha256, _, size = file_hashes(shared_data / 'shufflenet_v2_x1_0_int8.onnx')
    download.verify(sha256, '')
    assert (sha256, size, size) == (download.check, download.size, download.max_size)


def changed(**changes: Any) -> dict[str, Any]:
    """The table with its first file changed; None takes a field away."""
    values: dict[str, Any] = yaml.safe_load(TABLE.read_text())
    file = values['groups'][0]['files'][0]
    file |= changes
    for key, value in changes.items():
        if value is None:
            del file[key]
    return values


WRONG = {
    'not YAML': ('{', 'expected a table of downloads'),
    'no table': ('[]', 'expected a table of downloads'),
    'a mapping with a name twice': ('schema: 1\nschema: 1\ngroups: []', "'schema' is in one mapping twice"),
    'yes for a number': ({'schema': True, 'groups': []}, 'expected schema 1, got True'),
    'another schema': ({'schema': 2, 'groups': []}, 'expected schema 1, got 2'),
    'unknown field': (changed(color='red'), 'expected the fields'),
    'missing field': (changed(url=None), 'expected the fields'),
    'field twice': (changed(layout='onnx'), 'expected each field once, got layout in its group too'),
    'http': (changed(url='http://github.com/x'), "expected an https address, got 'http://github.com/x'"),
    'no host': (changed(url='https:///x'), 'expected an https address'),
    'a path': (changed(file='../x.onnx'), 'expected a plain file name'),
    'a hash that YAML made a number': (changed(check=12345678), 'expected lower-case hexadecimal digits'),
    'a short sha256': (changed(check='bf5eefde'), 'expected 64 to 64 digits, got 8'),
    'upper case': (changed(check='AB' * 32), 'expected lower-case hexadecimal digits'),
    'no limit': (changed(max_size=0), 'expected bytes'),
    'percent': (changed(top1_error='33 %'), "expected percent, got '33 %'"),
    'a name twice': (
        {'schema': 1, 'groups': changed()['groups'] + changed()['groups'][:1]}, 'expected each name once'),
}


@pytest.mark.parametrize(('values', 'cause'), WRONG.values(), ids=WRONG)
def test_what_is_wrong_in_a_table_is_said(values: Any, cause: str, tmp_path: Path) -> None:
    path = tmp_path / 'catalog.yaml'
    path.write_text(values if isinstance(values, str) else json.dumps(values))
    with pytest.raises(ModelError) as refused:
        read_downloads(path)
    assert cause in str(refused.value) and '\n' not in str(refused.value)


def test_every_kind_of_check_refuses_other_bytes() -> None:
    kinds = {download.check_kind: download for download in read_downloads().values()}
    assert set(kinds) == set(CHECKS)
    for download in kinds.values():
        with pytest.raises(ModelError, match=f'expected .*{download.check}, got '):
            download.verify('0' * 64, '0' * 40)
    zipped, prefix = kinds['sha1_in_zip'], kinds['sha256_prefix']
    zipped.verify('0' * 64, zipped.check)
    prefix.verify(prefix.check + '0' * 50, '0' * 40)


def test_an_index_keeps_how_a_file_was_checked(tmp_path: Path) -> None:
    entries = {'a': IndexEntry('a.onnx', 'a' * 64, 1), 'b': IndexEntry('b.pth', 'b' * 64, 2, 'sha1_in_zip')}
    write_entries(tmp_path, entries)
    assert read_index(tmp_path) == entries
    written = json.loads((tmp_path / 'index.json').read_text())['models']
    assert set(written['a']) == {'file', 'sha256', 'size'} and written['b']['check'] == 'sha1_in_zip'
