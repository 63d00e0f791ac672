# SPDX-License-Identifier: Apache-2.0
"""Read a db3 file without running the SQL in it, within limits that depend on the file's size.

rosbags queries everything that the file calls `topics` and `messages`. In a hostile file these are
endless views, or columns that are computed on reading. So the schema is checked first: a file must have what
recorders write, plain tables with no more content than the file has bytes.
"""

import os
import struct
from collections.abc import Collection, Generator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import apsw
from rosbags.interfaces import Connection
from rosbags.rosbag2.storage_sqlite3 import Sqlite3Reader

from shufflenet_ros.bags.errors import BagError
from shufflenet_ros.core.files import check_regular

# One raw 7680x4320 rgb8 frame is 95 MiB; recorders close a chunk after 1 to 4 MiB or one message.
MAX_UNPACKED_BYTES = 128 << 20
MAX_TOPICS_BYTES = 32 << 20  # all names, types and definitions; a large robot has about 2 MiB
_MAX_TEXT_BYTES = 4 << 20  # in one row; SQLite itself allows 1 GB
_MAX_OBJECTS = 100  # tables and indexes; recorders make up to 8
_TABLES = ('schema', 'topics', 'message_definitions', 'messages')  # that rosbags reads
# octet_length counts a number by its digits, up to three times its bytes in the file.
_CONTENT_PER_BYTE = 4

# Steps of SQLite's virtual machine for one file. Counting and reading takes about 30 steps per message, which
# has at least 20 bytes. A step takes 10 to 100 ns.
_STEPS, _STEPS_PER_BYTE, _STEPS_PER_CHECK = 10_000_000, 16, 100_000


class GuardedSqlite3Reader(Sqlite3Reader):
    """rosbags' reader with a check of the schema and a limit on the cost of queries."""

    def open(self) -> None:
        """Open it.

        Raises:
            BagError: truncated, or not made of plain tables.
            OSError: not a regular file.
        """
        file = Path(str(self.path))
        check_regular(file)
        _check_not_truncated(file)
        self._size = file.stat().st_size
        self._allow_all_steps()
        self.path = Path(quote(os.fsencode(file)))  # it becomes part of a URI, where ?, # and % are special
        apsw.connection_hooks.append(self._limit)
        try:
            flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
            with closing(apsw.Connection(f'file:{self.path}?immutable=1', flags)) as connection:
                _check_schema(connection, self._size)
            super().open()
        finally:
            apsw.connection_hooks.remove(self._limit)
        assert self.dbconn
        self.dbconn.limit(apsw.SQLITE_LIMIT_LENGTH, MAX_UNPACKED_BYTES + 1024)  # bytes of a row

    def messages(self, connections: Collection[Connection], start: int | None = None,
                 stop: int | None = None) -> Generator[tuple[Connection, int, bytes], None, None]:
        """See rosbags."""
        self._allow_all_steps()
        total, limit = 0, _CONTENT_PER_BYTE * self._size
        for connection, time_ns, data in super().messages(connections, start, stop):
            total += len(data)
            if total > limit:  # an index can list a row any number of times
                raise BagError(f'its messages have more than {limit} bytes: expected fewer in a file of its '
                               'size')
            yield connection, time_ns, data

    def _allow_all_steps(self) -> None:
        self._steps_left = _STEPS + _STEPS_PER_BYTE * self._size

    def _limit(self, connection: apsw.Connection) -> None:
        connection.limit(apsw.SQLITE_LIMIT_LENGTH, _MAX_TEXT_BYTES)
        for option, value in ((apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0), (apsw.SQLITE_DBCONFIG_DEFENSIVE, 1),
                              (apsw.SQLITE_DBCONFIG_ENABLE_VIEW, 0),
                              (apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 0)):
            connection.config(option, value)
        # A file can set a cache of any size, and so the memory for sorting.
        connection.execute('PRAGMA cell_size_check=ON; PRAGMA cache_size=-8192; PRAGMA mmap_size=0')
        connection.set_progress_handler(self._count_steps, _STEPS_PER_CHECK)

    def _count_steps(self) -> bool:
        self._steps_left -= _STEPS_PER_CHECK
        if self._steps_left < 0:
            raise BagError('its tables take more steps to read than a recording of this size needs')
        return False


def _check_not_truncated(path: Path) -> None:
    """Check that a database file is as long as its header says.

    SQLite would fill the missing end of the last page with zeros, and so an image's end with black.
    Layout: https://www.sqlite.org/fileformat2.html#the_database_header
    """
    with path.open('rb') as file:
        header = file.read(100)
    if len(header) < 100 or not header.startswith(b'SQLite format 3\0'):
        return  # SQLite itself reports the error
    page_size, changes, pages, valid_for = struct.unpack('>16xH6xII60xI4x', header)
    expected = pages * (65536 if page_size == 1 else page_size)
    size = path.stat().st_size
    if changes == valid_for and size < expected:
        raise BagError(f'{path.name} is truncated: it has {size} bytes, expected {expected}')


def _check_schema(connection: apsw.Connection, size: int) -> None:
    """Check that a file has only plain tables and indexes, with no more content than the file has bytes."""
    tables = []
    objects = connection.execute('SELECT type, name, rootpage FROM sqlite_master')
    for number, (kind, name, root) in enumerate(objects):
        # A virtual table has no root page.
        if kind not in ('table', 'index') or not root or number >= _MAX_OBJECTS:
            raise BagError(f'its schema has {kind} {name}: expected plain tables and indexes, as recorders '
                           f'make them, {_MAX_OBJECTS} at most')
        if kind == 'table':
            tables.append(name)
    for name in tables:
        columns = list(connection.execute(f'PRAGMA table_xinfo({_quoted(name)})'))
        if computed := [column[1] for column in columns if column[6]]:
            raise BagError(f'column {computed[0]} of its table {name} is computed: expected stored columns')
        if name.lower() in _TABLES:
            totals = ', '.join(f'total(octet_length({_quoted(column[1])}))' for column in columns)
            content = sum(next(connection.execute(f'SELECT {totals} FROM {_quoted(name)}')))
            limit = _CONTENT_PER_BYTE * size if name.lower() == 'messages' else MAX_TOPICS_BYTES
            if content > limit:
                raise BagError(f'its table {name} claims {content:.0f} bytes: expected at most {limit}')


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
