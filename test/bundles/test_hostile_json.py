# SPDX-License-Identifier: Apache-2.0
"""Cards, indexes and tables that were broken on purpose: each is read, or rejected with our own error."""

import copy
import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from onnx_models import card

from shufflenet_ros.bundles import listing
from shufflenet_ros.bundles.errors import ModelError
from shufflenet_ros.bundles.index import read_index
from shufflenet_ros.core.card import CardError, parse_card

MUTANTS = 2000
ROOT = Path(__file__).parents[2]

GOLDEN = {'logits': [1, 2.5, -3.0], 'tolerance': 0.01}
CARD = card(golden=GOLDEN, metrics={'top1': 0.5, 'images': 100}, cost={'params': 5, 'macs': 7},
            variants=[{'file': 'a.native', 'sha256': '0' * 64, 'precision': 'int8', 'backend': 'native',
                       'golden': GOLDEN, 'metrics': {'top1': 0.4}}])
INDEX = {'schema': 1, 'models': {
    'a': {'file': 'a.onnx', 'sha256': '0' * 64, 'size': 5},
    'b': {'file': 'b.onnx', 'sha256': 'f' * 64, 'size': 10 ** 6, 'check': 'sha256'}}}

RAW = '@raw '
"""The rest of a string with this prefix goes into the JSON without quotes."""
VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2 ** 31, 2 ** 63, -2 ** 63, 0.5, 1e300, 1e-300, '', 'a', 'é', 'a' * 5000,
    '\0', 'a\nb', '\x1b[2J', '\x85', '\u202e', '\ud800', '\udfff', [], {}, [[]], [1] * 3, {'a': 1},
    {'': None}, '0' * 64,
    *(RAW + text for text in ('NaN', 'Infinity', '-Infinity', '1e999', '-1e999', '9' * 5000, '1' * 400 + '.0',
                              '-0', '[' * 900 + ']' * 900, '{"a":' * 900 + '1' + '}' * 900, '[' * 9000,
                              '{"a": 1, "a": 1}', "'a'", '')),
]


def containers(value: Any) -> list[tuple[Any, Any]]:
    """(container, key) of everything inside a value."""
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [found for key in keys for found in ((value, key), *containers(value[key]))]


def change(values: Any, rng: random.Random) -> None:
    """Replace, remove, add, rename, or slightly change one part."""
    container, key = rng.choice(containers(values))
    kind, value = rng.randrange(10), copy.deepcopy(rng.choice(VALUES))
    old = container[key]
    if kind >= 6 and isinstance(old, (int, float, str)):
        container[key] = old[::-1] if isinstance(old, str) else old * rng.choice([0.5, 1, 2])
    elif kind <= 2:
        container[key] = value
    elif kind == 3:
        del container[key]
    elif isinstance(container, list):
        container.insert(key, value)
    else:
        name = rng.choice([value for value in VALUES if isinstance(value, str)])
        container[name] = container.pop(key) if kind == 4 else value


def written(values: Any, rng: random.Random) -> bytes:
    """As JSON with the raw parts; perhaps a name twice, perhaps some bytes changed."""
    text = json.dumps(values, ensure_ascii=rng.random() < 0.5)
    for raw in (value for value in VALUES if isinstance(value, str) and value.startswith(RAW)):
        text = text.replace(json.dumps(raw), raw[len(RAW):])
    if rng.random() < 0.1 and ', "' in text:
        at = rng.choice([i for i in range(len(text)) if text.startswith(', "', i)])
        text = text[:at] + ', "schema": 1' + text[at:]
    data = bytearray(text.encode('utf-8', 'surrogatepass'))
    if rng.random() < 0.2:
        for _ in range(rng.randint(1, 3)):
            data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data[:rng.randrange(len(data))] if rng.random() < 0.05 else data)


def mutants(values: Any, count: int, seed: int = 0) -> list[bytes]:
    rng = random.Random(seed)
    made = []
    for _ in range(count):
        mutant = copy.deepcopy(values)
        for _ in range(rng.randint(1, 3)):
            if containers(mutant):
                change(mutant, rng)
        made.append(written(mutant, rng))
    return made


def outcomes(read: Callable[[bytes], Any], expected: type[Exception], made: list[bytes]) -> Counter[str]:
    """How many were read and how many rejected; any other exception fails the test."""
    counts: Counter[str] = Counter()
    for data in made:
        try:
            read(data)
            counts['read'] += 1
        except expected as rejected:
            assert len(str(rejected)) < 1000
            str(rejected).encode()
            counts['rejected'] += 1
    return counts


def test_a_broken_card_is_rejected_or_survives_a_round_trip() -> None:
    def read(data: bytes) -> None:
        read_card = parse_card(data)
        text = read_card.to_json()  # as the subprocess gets it
        assert parse_card(text.encode()) == read_card and text.isprintable()

    counts = outcomes(read, CardError, mutants(CARD, MUTANTS))
    assert counts['rejected'] > MUTANTS / 2 and counts['read'] > MUTANTS / 20, counts


def test_a_broken_index_is_rejected_or_read(tmp_path: Path) -> None:
    def read(data: bytes) -> None:
        (tmp_path / 'index.json').write_bytes(data)
        for entry in read_index(tmp_path).values():
            assert entry.size > 0 and len(entry.sha256) == 64 and '/' not in entry.file

    counts = outcomes(read, ModelError, mutants(INDEX, MUTANTS // 2))
    assert counts['rejected'] > MUTANTS / 4 and counts['read'] > MUTANTS / 40, counts


def test_a_broken_table_of_networks_is_rejected_or_read(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, 'model_directories', lambda: {tmp_path: 'source tree'})
    table = json.loads((ROOT / 'models/networks.json').read_text())
    table['networks'] = table['networks'][:2]

    def read(data: bytes) -> None:
        (tmp_path / 'networks.json').write_bytes(data)
        listing.read_networks()

    counts = outcomes(read, ModelError, mutants(table, MUTANTS // 4))
    assert counts['rejected'] > MUTANTS / 8, counts
