# SPDX-License-Identifier: Apache-2.0
"""The catalog of downloads: its content, and that a wrong catalog is rejected."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from shufflenet_ros.bundles import catalog
from shufflenet_ros.bundles.catalog import CHECKS, find_download, read_downloads
from shufflenet_ros.bundles.errors import ModelError
from shufflenet_ros.bundles.index import IndexEntry, read_index, write_entries

CATALOG = Path(catalog.__file__).with_name('catalog.yaml')


def test_the_catalog_matches_the_published_files() -> None:
    downloads = read_downloads().values()
    sources = [download.source for download in downloads]
    assert [sources.count(source) for source in dict.fromkeys(sources)] == [1, 4, 11]
    for d in downloads:
        assert ('sha1' in d.check_kind) == d.url.endswith('.zip') == d.zipped
        assert d.name.startswith(d.network + '-') and 'non-commercial' in d.terms
        assert 0 < d.top5_error < d.top1_error < 100
        assert d.runs == (d.file == f'{d.name}.onnx') == (d.size is not None)
        if d.layout == 'torchvision_v2':
            assert d.url.endswith(f'-{d.check}.pth')
        if d.layout == 'pytorchcv_v1':
            assert d.url.endswith(f'-{round(100 * d.top5_error):04d}-{d.check[:8]}.pth.zip')


def test_the_int8_model_is_checked_by_its_full_hash(shared_data: Path) -> None:
    download = find_download('shufflenet_v2_x1_0-imagenet-224-int8')
    data = (shared_data / 'shufflenet_v2_x1_0_int8.onnx').read_bytes()
    assert download.check_bytes(data) == IndexEntry(download.file, download.check, len(data), 'sha256')
    assert len(data) == download.size == download.max_size


def changed(**changes: Any) -> dict[str, Any]:
    """The catalog with its first file changed; None removes a field."""
    values: dict[str, Any] = yaml.safe_load(CATALOG.read_text())
    first = values['groups'][0]['files'][0]
    values['groups'][0]['files'][0] = {
        key: value for key, value in (first | changes).items() if value is not None}
    return values


WRONG = {
    'not YAML': ('{', 'expected a catalog of downloads'),
    'no table': ('[]', 'expected a catalog of downloads'),
    'a mapping with a name twice': ('schema: 1\nschema: 1\ngroups: []', "'schema' is in one mapping twice"),
    'yes for a number': ({'schema': True, 'groups': []}, 'expected schema 1, got True'),
    'another schema': ({'schema': 2, 'groups': []}, 'expected schema 1, got 2'),
    'unknown field': (changed(color='red'), "color: got 'red', expected no such field"),
    'missing field': (changed(url=None), 'url: missing, but required'),
    'field twice': (changed(layout='onnx'), 'got layout in its group too, expected each field once'),
    'http': (changed(url='http://github.com/x'), "got 'http://github.com/x', expected an https address"),
    'no host': (changed(url='https:///x'), 'expected an https address'),
    'a path': (changed(file='../x.onnx'), 'expected a plain name'),
    'a hash that YAML made a number': (changed(check=12345678), 'expected hexadecimal digits in lower case'),
    'a short sha256': (changed(check='bf5eefde'), "check: got 'bf5eefde', expected 64 to 64 digits"),
    'upper case': (changed(check='AB' * 32), 'expected hexadecimal digits in lower case'),
    'no limit': (changed(max_size=0), 'max_size: got 0, expected a whole number, 1 to 268435456'),
    'percent': (changed(top1_error='33 %'), "got '33 %', expected a number in [0, 100]"),
    'a name twice': (
        {'schema': 1, 'groups': changed()['groups'] + changed()['groups'][:1]}, 'expected each name once'),
}


@pytest.mark.parametrize(('values', 'cause'), WRONG.values(), ids=WRONG)
def test_a_wrong_catalog_is_rejected(values: Any, cause: str, tmp_path: Path) -> None:
    path = tmp_path / 'catalog.yaml'
    path.write_text(values if isinstance(values, str) else json.dumps(values))
    with pytest.raises(ModelError) as rejected:
        read_downloads(path)
    text = str(rejected.value)
    assert cause in text and text.startswith(str(path)) and '\n' not in text and '; ' in text


def test_every_kind_of_check_rejects_other_bytes() -> None:
    kinds = {download.check_kind: download for download in read_downloads().values()}
    assert set(kinds) == set(CHECKS)
    sha256, sha1 = hashlib.sha256(b'x').hexdigest(), hashlib.sha1(b'x').hexdigest()
    for kind, check in (('sha256', sha256), ('sha256_prefix', sha256[:8]), ('sha1_in_zip', sha1)):
        download = kinds[kind]  # type: ignore[index]
        with pytest.raises(ModelError, match=f'expected .*{download.check}, got '):
            download.check_bytes(b'x')
        entry = replace(download, check=check).check_bytes(b'x')
        assert entry == IndexEntry(download.file, sha256, 1, kind)
        assert download.check_bytes(b'x', pin=entry) == entry
        with pytest.raises(ModelError, match=f'expected sha256 {sha256} and 1 bytes, as at its first fetch'):
            download.check_bytes(b'y', pin=entry)


def test_an_index_keeps_how_a_file_was_checked(tmp_path: Path) -> None:
    entries = {'a': IndexEntry('a.onnx', 'a' * 64, 1), 'b': IndexEntry('b.pth', 'b' * 64, 2, 'sha1_in_zip')}
    write_entries(tmp_path, entries)
    assert read_index(tmp_path) == entries
    written = json.loads((tmp_path / 'index.json').read_text())['models']
    assert set(written['a']) == {'file', 'sha256', 'size'} and written['b']['check'] == 'sha1_in_zip'
