"""index.json of a models folder: which files belong there, with the hashes they must have."""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from shufflenet_ros.bundles.errors import ModelError, mismatch
from shufflenet_ros.bundles.files import read_regular, sha256_of
from shufflenet_ros.bundles.onnx_file import read_facts
from shufflenet_ros.core.card import METADATA_KEY, parse_card
from shufflenet_ros.core.files import write_whole
from shufflenet_ros.core.strict_json import read_json

INDEX_FILE = 'index.json'
INDEX_SCHEMA = 1
MAX_INDEX_BYTES = 1 << 20
MAX_MODEL_BYTES = 256 << 20
SHA256 = re.compile(r'[0-9a-f]{64}')
NAME = re.compile(r'[A-Za-z0-9][A-Za-z0-9._-]{0,199}')


@dataclass(frozen=True)
class IndexEntry:
    """A file of the folder: its plain name, its sha256 and its size in bytes.

    Attributes:
        check: for a fetched file, what it was held to when it first came (a key of
            `bundles.catalog.CHECKS`); hash and size are pinned since. '' for every other.
    """

    file: str
    sha256: str
    size: int
    check: str = ''

    def values(self) -> dict[str, Any]:
        """As in index.json, which names a check only where there was one."""
        return {key: value for key, value in asdict(self).items() if key != 'check' or value}


def _entry(where: str, value: Any) -> IndexEntry:
    good = (isinstance(value, dict) and set(value) - {'check'} == {'file', 'sha256', 'size'}
            and isinstance(value['file'], str) and NAME.fullmatch(value['file'])
            and isinstance(value['sha256'], str) and SHA256.fullmatch(value['sha256'])
            and type(value['size']) is int and value['size'] > 0
            and isinstance(value.get('check', ''), str))
    if not good:
        raise mismatch(where, '{"file": plain name, "sha256": 64 hex digits, "size": bytes}',
                       str(value)[:120], 'write the index again with the export command')
    return IndexEntry(**value)


def read_index(folder: Path) -> dict[str, IndexEntry]:
    """Model name -> entry; empty where the folder has no index.

    Raises:
        ModelError: an index that cannot be read.
    """
    path = folder / INDEX_FILE
    if not path.is_file():
        return {}
    try:
        values = read_json(read_regular(path, MAX_INDEX_BYTES))
        if type(values['schema']) is not int or values['schema'] != INDEX_SCHEMA:
            raise mismatch(str(path), f'schema {INDEX_SCHEMA}', str(values['schema']),
                           'use a newer shufflenet_ros')
        return {name: _entry(f'{path}: {name[:80]}', value) for name, value in values['models'].items()}
    except ModelError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise mismatch(str(path), 'an index of models', f'something else ({error})',
                       'restore the file') from error


def write_index(folder: Path) -> dict[str, IndexEntry]:
    """Index every *.onnx of the folder under the name in its card, replacing index.json in one step.

    Raises:
        ModelError: a file without a card inside, or two files with one name.
        CardError: a card that cannot be used.
    """
    entries: dict[str, IndexEntry] = {}
    for path in sorted(folder.glob('*.onnx')):
        data = read_regular(path, MAX_MODEL_BYTES)
        text = read_facts(data).metadata.get(METADATA_KEY)
        if text is None:
            raise mismatch(str(path), 'a card in its metadata', 'none',
                           'add one: shufflenet-ros models add-card')
        name = parse_card(text).name
        if name in entries:
            raise mismatch(str(path), 'one file a name', f'{name!r}, which {entries[name].file} has too',
                           'rename one of the cards')
        entries[name] = IndexEntry(path.name, sha256_of(data), len(data))
    write_entries(folder, entries)
    return entries


def write_entries(folder: Path, entries: dict[str, IndexEntry]) -> None:
    """Replace a folder's index.json in one step."""
    values = {'schema': INDEX_SCHEMA, 'models': {name: entry.values() for name, entry in entries.items()}}
    write_whole(folder / INDEX_FILE, (json.dumps(values, indent=2) + '\n').encode())


def renew_entry(path: Path, name: str) -> None:
    """Where the folder's index holds a file to the hash that it had, hold it to the one that it has now.

    Args:
        name: the model's, as its card has it now.
    """
    entries = read_index(path.parent)
    kept = {key: entry for key, entry in entries.items() if entry.file != path.name}
    if len(kept) < len(entries):
        data = path.read_bytes()
        write_entries(path.parent, kept | {name: IndexEntry(path.name, sha256_of(data), len(data))})
