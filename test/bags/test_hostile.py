# SPDX-License-Identifier: Apache-2.0
"""Hostile bags are an error at no cost: db3 files with odd schemas, FIFOs, folders with odd metadata.yaml."""

import os
import re
import shutil
import sqlite3
import struct
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from shufflenet_ros.bags.errors import BagError
from shufflenet_ros.bags.limits import zstd
from shufflenet_ros.bags.reader import Bag
from shufflenet_ros.bags.writer import BagWriter

TOPICS = """CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT, type TEXT, serialization_format TEXT,
            offered_qos_profiles TEXT)"""
MESSAGES = 'CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp INTEGER, data BLOB)'
TOPIC = "INSERT INTO topics VALUES(1, '/image', 'sensor_msgs/msg/Image', 'cdr', '')"
ENDLESS = 'WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c)'
COUNT = 'WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < {0})'


def create(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute('PRAGMA page_size=4096')
        for statement in statements:
            database.execute(statement)


def computed(kind: str) -> Callable[[Path], None]:
    column = f'data BLOB GENERATED ALWAYS AS (zeroblob(120000000)) {kind}'
    return lambda path: create(
        path, TOPICS, TOPIC, MESSAGES.replace('data BLOB', column),
        *[f'INSERT INTO messages(id, topic_id, timestamp) VALUES({i}, 1, {i})'
          for i in range(1 if kind == 'STORED' else 30)])


def endless_view(path: Path) -> None:
    create(path, TOPICS, TOPIC, f"""CREATE VIEW messages AS {ENDLESS}
         SELECT x AS id, 1 AS topic_id, x AS timestamp, zeroblob(1000) AS data FROM c""",
         'CREATE TABLE spare(x)', 'PRAGMA writable_schema=ON',
         # rosbags checks that there are two tables of these names
         "UPDATE sqlite_master SET type='table' WHERE name='messages'")


def extra_view(path: Path) -> None:
    create(path, TOPICS, TOPIC, MESSAGES,
           f'CREATE VIEW schema AS {ENDLESS} SELECT x AS schema_version FROM c WHERE x < 0')


def virtual(path: Path) -> None:
    create(path, TOPICS, TOPIC, 'PRAGMA writable_schema=ON',
         "INSERT INTO sqlite_master VALUES('table', 'messages', 'messages', 0, "
         "'CREATE VIRTUAL TABLE messages USING fts5(id, topic_id, timestamp, data)')")


def every_pair(path: Path) -> None:
    """Each of 20,000 topics has each of 20,000 messages."""
    create(path, TOPICS.replace(' PRIMARY KEY', ''), MESSAGES,
         f"INSERT INTO topics {COUNT.format(20000)} SELECT 1, '/t', 'a/msg/B', 'cdr', '' FROM c",
         f'INSERT INTO messages {COUNT.format(20000)} SELECT x, 1, x, NULL FROM c')


def long_name(path: Path) -> None:
    rows = ', '.join(f"({i}, hex(zeroblob(1000000)), 'a/msg/B', 'cdr', '')" for i in range(17))
    create(path, TOPICS, MESSAGES, f'INSERT INTO topics VALUES {rows}')


def many_tables(path: Path) -> None:
    create(path, TOPICS, TOPIC, MESSAGES, *[f'CREATE TABLE t{i}(x)' for i in range(120)])


def shared_pages(path: Path) -> None:
    """Six messages of 1 MB that share their pages."""
    create(path, TOPICS, TOPIC, MESSAGES,
         *[f'INSERT INTO messages VALUES({i}, 1, {i}, zeroblob(998900))' for i in range(1, 7)])
    data = bytearray(path.read_bytes())
    leaf = 2 * 4096  # page 3: messages' only leaf
    cells = struct.unpack_from('>6H', data, leaf + 8)
    ends = sorted([*cells, 4096])[1:]
    chains = [struct.unpack_from('>I', data, leaf + end - 4)[0] for end in ends]
    for end in ends:
        struct.pack_into('>I', data, leaf + end - 4, min(chains))
    pages = 3 + 998900 // 4092 + 1
    struct.pack_into('>I', data, 28, pages)
    path.write_bytes(data[:4096 * pages])


HOSTILE = {
    'virtual column': (computed('VIRTUAL'), 'column data of its table messages is computed'),
    'stored column': (computed('STORED'), 'column data of its table messages is computed'),
    'endless view': (endless_view, ''),
    'an extra view': (extra_view, 'its schema has view schema: expected plain tables'),
    'virtual table': (virtual, 'its schema has table messages: expected plain tables'),
    'every pair': (every_pair, 'its tables take more steps to read'),
    'long name': (long_name, 'its table topics claims 3400'),
    'many tables': (many_tables, 'expected plain tables and indexes, as recorders make them, 100 at most'),
    'shared pages': (shared_pages, 'its table messages claims 5993'),
}


def test_a_hostile_schema_is_an_error_at_no_cost(read_in_a_process, tmp_path):
    paths = {kind: tmp_path / f'{number}.db3' for number, kind in enumerate(HOSTILE)}
    for kind, path in paths.items():
        HOSTILE[kind][0](path)
    outcome, rise_mib = read_in_a_process(paths.values())
    for kind, path in paths.items():
        assert outcome[str(path)].startswith(f'bag {path} cannot be read (')
        assert HOSTILE[kind][1] in outcome[str(path)]
    assert rise_mib < 200


def test_an_index_that_lists_a_message_many_times_ends(tmp_path):
    path = tmp_path / 'again.db3'
    create(path, TOPICS, TOPIC, MESSAGES, 'INSERT INTO messages VALUES(1, 1, 1, zeroblob(100000))',
         'CREATE INDEX timestamp_idx ON messages(timestamp)', 'CREATE TABLE many(timestamp INTEGER)',
         f'INSERT INTO many {COUNT.format(200)} SELECT 1 FROM c', 'CREATE INDEX other ON many(timestamp)')
    data = bytearray(path.read_bytes())
    with closing(sqlite3.connect(path)) as database:
        roots = dict(database.execute('SELECT name, rootpage FROM sqlite_master'))
    own, other = ((roots[name] - 1) * 4096 for name in ('timestamp_idx', 'other'))
    page = bytearray(data[other:other + 4096])
    for i in range(200):  # a key of (1, rowid): header of 3 bytes, then the rowid, which becomes 1
        cell = struct.unpack_from('>H', page, 8 + 2 * i)[0]
        length, header = page[cell], page[cell + 1:cell + 4]
        assert header[:2] == b'\3\x09'
        if length == 4:
            page[cell + 4] = 1
        elif length == 5:
            page[cell + 4:cell + 6] = b'\0\1'
    data[own:own + 4096] = page
    path.write_bytes(data)
    with Bag(path) as bag, pytest.raises(BagError, match='its messages have more than'):
        list(bag.messages())


def test_large_messages_and_many_topics_are_read(tmp_path):
    with BagWriter(tmp_path / 'bag', 'db3') as writer:
        writer.image('/large', np.zeros((1000, 2000, 3), np.uint8), 'bgr8', 1)
        for i in range(300):
            writer.compressed(f'/{i}', b'x', 'jpeg', 2 + i)
    with Bag(tmp_path / 'bag') as bag:
        assert len(bag.topics) == 301
        assert [len(item.raw) > 6_000_000 for item in bag.messages()] == [True] + [False] * 300


def count_messages(path: Path) -> int:
    with Bag(path) as bag:
        return len(list(bag.messages()))


@pytest.mark.parametrize('name', ['a?b', 'a#b', 'a%20b', '50%', 'a?immutable=0&vfs=x', 'ö'])
def test_any_name_of_a_db3_is_only_a_name(bags, tmp_path, name):
    os.link(bags['db3 file'], tmp_path / f'{name}.db3')
    shutil.copytree(bags['db3'], tmp_path / name, copy_function=os.link)
    assert count_messages(tmp_path / f'{name}.db3') == count_messages(tmp_path / name) == 18


def test_a_journal_beside_a_db3_is_not_read(bags, tmp_path):
    file = tmp_path / 'bag.db3'
    file.write_bytes(bags['db3 file'].read_bytes())
    for suffix in ('-wal', '-shm', '-journal'):
        file.with_name(file.name + suffix).write_bytes(os.urandom(5000))
    before = sorted(tmp_path.iterdir())
    assert count_messages(file) == 18 and sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize('suffix', ['.bag', '.db3', '.mcap'])
def test_a_fifo_named_like_a_bag_is_an_error_at_once(tmp_path, suffix):
    path = tmp_path / f'pipe{suffix}'
    os.mkfifo(path)
    with pytest.raises(BagError, match=re.escape(f'{path}: expected a regular file or a folder, got a FIFO')):
        Bag(path)


@pytest.mark.parametrize('name', ['db3.db3', 'metadata.yaml', 'another'])
def test_a_fifo_in_a_bag_folder_is_an_error_at_once(bags, tmp_path, name):
    folder = shutil.copytree(bags['db3'], tmp_path / 'bag')
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    with pytest.raises(BagError, match='expected a regular file, got a FIFO'):
        Bag(folder)


ALIASES = ['&a0 [x, x, x, x, x, x, x, x, x]',
           *(f'&a{i} [{", ".join([f"*a{i - 1}"] * 9)}]' for i in range(1, 9))]


@pytest.mark.parametrize(('old', 'new', 'expected'), [
    ('rosbag2_bagfile_information:', 'rosbag2_bagfile_information: # \n' + '  # filler\n' * 3_000_000,
     'metadata.yaml: more than 2097152 bytes'),
    ("compression_format: ''\n  compression_mode: ''",
     '\n  '.join([*(f'x{i}: {line}' for i, line in enumerate(ALIASES)), 'compression_format: *a8',
                  'compression_mode: file']),
     'metadata.yaml: alias *a0: expected none'),
    ("compression_format: ''", f'compression_format: {"[" * 900}{"]" * 900}',
     'nested more than 50 levels deep'),
], ids=['30 MB', 'aliases', 'deep'])
def test_hostile_metadata_is_an_error(bags, tmp_path, old, new, expected):
    folder = shutil.copytree(bags['db3'], tmp_path / 'bag')
    text = (folder / 'metadata.yaml').read_text()
    assert old in text
    (folder / 'metadata.yaml').write_text(text.replace(old, new))
    with pytest.raises(BagError, match=re.escape(expected)):
        Bag(folder)


def test_a_packed_file_of_any_name_is_checked_first(bags, tmp_path, monkeypatch):
    folder = shutil.copytree(bags['db3 file zstd'], tmp_path / 'bag')
    (packed,) = folder.glob('*.zstd')
    packed.unlink()
    (folder / 'plain').write_bytes(zstd.compress(bytes(1 << 20)))
    text = (folder / 'metadata.yaml').read_text()
    (folder / 'metadata.yaml').write_text(text.replace(packed.name, 'plain'))
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: usage._replace(free=100_000))
    with pytest.raises(BagError, match='plain unpacks to more than 50000 bytes'):
        Bag(folder)
