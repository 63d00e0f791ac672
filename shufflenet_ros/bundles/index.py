# SPDX-License-Identifier: Apache-2.0
"""index.json of a models folder: which files belong there, with the hashes they must have."""

import json
import re
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from shufflenet_ros.bundles.errors import mismatch
from shufflenet_ros.bundles.files import TABLE_SCHEMA, read_regular, read_table, sha256_of
from shufflenet_ros.bundles.onnx_file import read_summary
from shufflenet_ros.core.card import METADATA_KEY, parse_card
from shufflenet_ros.core.fields import Readers, field_path, integer, invalid, record, text
from shufflenet_ros.core.files import write_whole
from shufflenet_ros.core.strict_json import read_json

INDEX_FILE = 'index.json'
MAX_MODEL_BYTES = 256 << 20
SHA256 = re.compile(r'[0-9a-f]{64}')
NAME = re.compile(r'[A-Za-z0-9][A-Za-z0-9._-]{0,199}')


@dataclass(frozen=True)
class IndexEntry:
    """A file of the folder: its plain name, its sha256 and its size in bytes.

    Attributes:
        check: for a fetched file, how it was checked at its first fetch (a key of `bundles.catalog.CHECKS`);
            hash and size are pinned since then. '' for every other file.
    """

    file: str
    sha256: str
    size: int
    check: str = ''

    @classmethod
    def of(cls, file: str, data: bytes, check: str = '') -> 'IndexEntry':
        """The entry of a file with these bytes."""
        return cls(file, sha256_of(data), len(data), check)


def plain_name(value: Any, where: str) -> str:
    """A name that is safe as a file name.

    Raises:
        FieldError: it is not.
    """
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise invalid(where, value, 'a plain name')
    return value


def _sha256(value: Any, where: str) -> str:
    if not isinstance(value, str) or not SHA256.fullmatch(value):
        raise invalid(where, value, '64 hexadecimal digits in lower case')
    return value


_ENTRY: Readers = {'file': plain_name, 'sha256': _sha256, 'size': partial(integer, low=1), 'check': text}


def read_index(folder: Path) -> dict[str, IndexEntry]:
    """Model name -> entry; empty if the folder has no index.

    Raises:
        ModelError: an index that cannot be read.
    """
    path = folder / INDEX_FILE
    if not path.is_file():
        return {}
    return read_table(path, read_json, 'an index of models', lambda table: {
        name: record(IndexEntry, value, field_path('models', name), _ENTRY)
        for name, value in table['models'].items()})


def write_index(folder: Path) -> dict[str, IndexEntry]:
    """Index every *.onnx of the folder under the name in its card, replacing index.json in one step.

    Raises:
        ModelError: a file without a card inside, or two files with one name.
        CardError: a card that cannot be used.
    """
    entries: dict[str, IndexEntry] = {}
    for path in sorted(folder.glob('*.onnx')):
        data = read_regular(path, MAX_MODEL_BYTES)
        card = read_summary(data).metadata.get(METADATA_KEY)
        if card is None:
            raise mismatch(str(path), 'a card in its metadata', 'none',
                           f'add one: shufflenet-ros models add-card {path} --card FILE -o {path}')
        name = parse_card(card).name
        if name in entries:
            raise mismatch(str(path), 'one file per name', f'{name!r}, which {entries[name].file} has too',
                           'rename one of the cards')
        entries[name] = IndexEntry.of(path.name, data)
    write_entries(folder, entries)
    return entries


def write_entries(folder: Path, entries: dict[str, IndexEntry]) -> None:
    """Replace a folder's index.json in one step."""
    models = {name: {key: value for key, value in asdict(entry).items() if value != ''}
              for name, entry in entries.items()}
    values = {'schema': TABLE_SCHEMA, 'models': models}
    write_whole(folder / INDEX_FILE, (json.dumps(values, indent=2) + '\n').encode())


def update_entry(path: Path, name: str) -> None:
    """Update a changed file's entry, if the folder's index has one.

    Args:
        name: the model's, as its card has it now.
    """
    entries = read_index(path.parent)
    kept = {key: entry for key, entry in entries.items() if entry.file != path.name}
    if len(kept) < len(entries):
        write_entries(path.parent, kept | {name: IndexEntry.of(path.name, path.read_bytes())})
