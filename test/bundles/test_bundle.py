# SPDX-License-Identifier: Apache-2.0
"""Row C2 and cards: the hash is compared first, cards have an order, errors have a remedy."""

import hashlib
import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from onnx_models import LABELS, card, classifier, good, write

from shufflenet_ros.bundles import bundle as bundle_module
from shufflenet_ros.bundles import onnx_file
from shufflenet_ros.bundles.bundle import open_bundle
from shufflenet_ros.bundles.errors import ModelError
from shufflenet_ros.bundles.index import read_index, write_index


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_c2_every_flipped_bit_is_rejected_before_the_file_is_read(tmp_path: Path,
                                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    path = good(tmp_path)
    data = path.read_bytes()
    right = hashlib.sha256(data).hexdigest()
    assert open_bundle(str(path), sha256=right).sha256 == right

    def never(data: bytes) -> onnx_file.OnnxSummary:
        raise AssertionError('the content was read before its hash was compared')
    monkeypatch.setattr(bundle_module, 'read_summary', never)
    bits = random.Random(1).sample(range(8 * len(data)), 256)
    for changed in [*(flipped(data, bit) for bit in bits), data[:1], data[:100], data[:-1]]:
        path.write_bytes(changed)
        with pytest.raises(ModelError, match=f'expected sha256 {right}, got [0-9a-f]{{64}}; '):
            open_bundle(str(path), sha256=right)


@pytest.mark.parametrize('sha256', ['abc', 'G' * 64, 'A' * 64, ' ' + 'a' * 64])
def test_c2_the_given_hash_is_checked(sha256: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match='expected a sha256 of 64 hexadecimal digits'):
        open_bundle(str(good(tmp_path)), sha256=sha256)


@pytest.fixture
def cache(no_cache: Path) -> Path:
    folder = no_cache / 'shufflenet_ros' / 'models'
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize('by_path', [False, True])
def test_c2_the_index_decides_by_name_and_by_path(by_path: bool, cache: Path) -> None:
    path = good(cache)
    write_index(cache)
    model = str(path) if by_path else 'small'
    assert open_bundle(model).trusted
    path.write_bytes(flipped(path.read_bytes(), 999))
    with pytest.raises(ModelError, match=r'expected sha256 .* it differs from the index'):
        open_bundle(model)


def test_only_the_index_of_a_model_directory_makes_a_file_trusted(cache: Path, tmp_path: Path) -> None:
    path = good(tmp_path)
    write_index(tmp_path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert not open_bundle(str(path), sha256=digest).trusted, 'an index beside it proves nothing'
    good(cache)
    assert not open_bundle('small').trusted
    write_index(cache)
    assert open_bundle('small').trusted
    assert open_bundle(str(path)).trusted, 'the same bytes elsewhere'


def test_the_card_comes_from_option_sidecar_file_in_this_order(tmp_path: Path) -> None:
    path, option = good(tmp_path, 'inside'), tmp_path / 'option.json'
    sidecar = tmp_path / 'inside.onnx.card.json'

    def opened(card_file: str = '') -> tuple[str, str]:
        bundle = open_bundle(str(path), card_file)
        return bundle.card.name, bundle.card_from
    assert opened() == ('inside', 'in the file')
    sidecar.write_text(json.dumps(card(name='sidecar')))
    assert opened() == ('sidecar', str(sidecar))
    option.write_text(json.dumps(card(name='option')))
    assert opened(str(option)) == ('option', str(option))


def test_a_packaged_card_is_found_by_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / 'bare.onnx', classifier())
    packaged = tmp_path / 'cards'
    packaged.mkdir()
    (packaged / 'bare.json').write_text(json.dumps(card(name='packaged')))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    (packaged / 'index.json').write_text(json.dumps({digest: 'bare.json'}))
    monkeypatch.setattr(bundle_module, '_PACKAGED', packaged)
    assert open_bundle(str(path)).card_from == 'packaged bare.json'
    path.write_bytes(path.read_bytes() + b'\x2a\x00')
    with pytest.raises(ModelError, match=r'expected a card .* got none; write bare.onnx.card.json .*--card'):
        open_bundle(str(path))


@pytest.mark.parametrize(('make', 'cause'), [
    (os.mkfifo, 'a FIFO'), (lambda path: path.symlink_to('/dev/zero'), 'character device'),
    (lambda path: path.write_bytes(b' ' * ((1 << 20) + 1)), 'at most 1048576')])
def test_a_sidecar_is_read_as_carefully_as_a_model(make: Callable[[Path], object], cause: str,
                                                   tmp_path: Path) -> None:
    path = good(tmp_path)
    make(tmp_path / 'small.onnx.card.json')
    with pytest.raises(ModelError, match=cause):
        open_bundle(str(path))


# test/core/test_card.py has the others.
BAD_CARDS: list[tuple[bytes | dict[str, Any], str]] = [
    (b'', 'got 0 bytes'),
    (json.dumps(card()).encode() + b'\x80', 'not JSON'),
    (card(labels=['a\0', 'b', 'c', 'e']), r'labels\[0\].*control'),
    (card(input={**card()['input'], 'colour': 'rgb'}), 'input.colour'),
]


@pytest.mark.parametrize(('values', 'cause'), BAD_CARDS)
def test_c3_a_card_that_cannot_be_used_names_file_and_field(values: bytes | dict[str, Any], cause: str,
                                                           tmp_path: Path) -> None:
    path = good(tmp_path)
    other = tmp_path / 'card.json'
    other.write_bytes(values if isinstance(values, bytes) else json.dumps(values).encode())
    with pytest.raises(ModelError, match=cause) as rejected:
        open_bundle(str(path), str(other))
    assert str(other) in str(rejected.value)
    opened = open_bundle(str(path))
    assert hashlib.sha256(opened.data).hexdigest() == opened.sha256 and opened.card.labels == tuple(LABELS)


ENTRY = {'file': 'a.onnx', 'sha256': 'a' * 64, 'size': 5}
BAD_INDEXES: list[tuple[Any, str]] = [
    ('', 'expected a file with content'), ('[]', 'expected an index of models'),
    ({'schema': 2, 'models': {}}, 'expected schema 1, got 2'), ({'models': {}}, "something else ('schema')"),
    ({'schema': True, 'models': {}}, 'expected schema 1, got True'),
    ({'schema': 1.0, 'models': {}}, 'expected schema 1, got 1.0'),
    ({'schema': 1, 'models': []}, 'expected an index of models'),
    ({'schema': 1, 'models': {'a': {}}}, 'models.a.file: missing'),
    ({'schema': 1, 'models': {'a': 3}}, 'models.a: got 3, expected an object'),
    ({'schema': 1, 'models': {'a': ENTRY | {'file': '../a'}}}, "got '../a', expected a plain name"),
    ({'schema': 1, 'models': {'a': ENTRY | {'sha256': 'A' * 64}}}, 'expected 64 hexadecimal digits'),
    ({'schema': 1, 'models': {'a': ENTRY | {'size': 0}}}, 'size: got 0, expected a whole number'),
    ({'schema': 1, 'models': {'a': ENTRY | {'size': True}}}, 'models.a.size: got True'),
    ({'schema': 1, 'models': {'a': ENTRY | {'color': 'red'}}}, 'models.a.color'),
    ('{"schema": 1, "models": {"a": {}, "a": {}}}', "'a' is in one object twice"),
]


@pytest.mark.parametrize(('values', 'cause'), BAD_INDEXES)
def test_a_bad_index_is_rejected_and_trusts_nothing(
        values: Any, cause: str, cache: Path, tmp_path: Path) -> None:
    (cache / 'index.json').write_text(values if isinstance(values, str) else json.dumps(values))
    with pytest.raises(ModelError) as rejected:
        read_index(cache)
    assert cause in str(rejected.value)
    assert not open_bundle(str(good(tmp_path))).trusted


def test_write_index_needs_cards_and_single_names(tmp_path: Path) -> None:
    good(tmp_path, 'b')
    good(tmp_path, 'a')
    entries = write_index(tmp_path)
    assert list(entries) == ['a', 'b'] and read_index(tmp_path) == entries
    write(tmp_path / 'c.onnx', classifier(), card(name='a'))
    with pytest.raises(ModelError, match='one file per name'):
        write_index(tmp_path)
    write(tmp_path / 'c.onnx', classifier())
    with pytest.raises(ModelError, match='a card in its metadata'):
        write_index(tmp_path)
    assert read_index(tmp_path) == entries, 'an error leaves the old index'
