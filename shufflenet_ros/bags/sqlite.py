"""A db3 is a program as much as a file: this reader runs none of it, and stays within what the file can hold.

rosbags asks its questions of whatever the file calls `topics` and `messages`. In a hostile one these are
views that never end, or columns that are computed when they are read. So a file is first held to what
recorders write: plain tables that hold no more bytes than the file has.
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

# Topic names, types and their definitions, all together; a large robot has some 2 MiB of them.
MAX_TOPICS_BYTES = 32 << 20
# A row of them; SQLite itself would allow 1 GB.
_MAX_TEXT_BYTES = 4 << 20
_MAX_OBJECTS = 100  # tables and indexes: recorders make up to 8
_TABLES = ('schema', 'topics', 'message_definitions', 'messages')  # that rosbags reads
# A number is counted by its digits, three times the bytes that it takes.
_DIGITS = 4
_MAGIC = b'SQLite format 3\0'

# Steps of SQLite's virtual machine that a file may take: counting and reading takes some 30 a message of at
# least 20 bytes. A step takes 10 to 100 ns.
_STEPS, _STEPS_A_BYTE, _STEPS_A_CHECK = 10_000_000, 16, 100_000


class GuardedSqlite3Reader(Sqlite3Reader):
    """rosbags' reader behind checks, with limits on what a query costs."""

    def __init__(self, path: Path, max_message: int):
        super().__init__(path)
        self._max_message = max_message

    def open(self) -> None:
        """Open it.

        Raises:
            BagError: not a regular file, cut, or made of something else than plain tables.
        """
        file = Path(str(self.path))
        check_regular(file)
        check_not_cut(file)
        size = file.stat().st_size
        self._budget, self._limit = _Budget(size), _DIGITS * size
        self.path = Path(quote(os.fsencode(file)))  # it becomes a URI, where ?, # and % mean something
        apsw.connection_hooks.append(self._budget.guard)
        try:
            flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
            with closing(apsw.Connection(f'file:{self.path}?immutable=1', flags)) as connection:
                _check_schema(connection, size)
            super().open()
        finally:
            apsw.connection_hooks.remove(self._budget.guard)
        assert self.dbconn
        self.dbconn.limit(apsw.SQLITE_LIMIT_LENGTH, self._max_message + 1024)  # bytes of a row

    def messages(self, connections: Collection[Connection], start: int | None = None,
                 stop: int | None = None) -> Generator[tuple[Connection, int, bytes], None, None]:
        """See rosbags."""
        self._budget.renew()
        given = 0
        for connection, time_ns, data in super().messages(connections, start, stop):
            given += len(data)
            if given > self._limit:  # an index can name a row any number of times
                raise BagError(f'its messages hold more than {self._limit} bytes: expected less in a file of '
                               'its size')
            yield connection, time_ns, data


class _Budget:
    """The steps that the queries of one file may take."""

    def __init__(self, size: int):
        self._whole = _STEPS + _STEPS_A_BYTE * size
        self.renew()

    def renew(self) -> None:
        """Begin anew."""
        self._left = self._whole

    def guard(self, connection: apsw.Connection) -> None:
        """Put the limits into a connection."""
        connection.limit(apsw.SQLITE_LIMIT_LENGTH, _MAX_TEXT_BYTES)
        for option, value in ((apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0), (apsw.SQLITE_DBCONFIG_DEFENSIVE, 1),
                              (apsw.SQLITE_DBCONFIG_ENABLE_VIEW, 0),
                              (apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 0)):
            connection.config(option, value)
        # A file can ask for a cache, and so for memory to sort in, of any size.
        connection.execute('PRAGMA cell_size_check=ON; PRAGMA cache_size=-8192; PRAGMA mmap_size=0')
        connection.set_progress_handler(self._spend, _STEPS_A_CHECK)

    def _spend(self) -> bool:
        self._left -= _STEPS_A_CHECK
        if self._left < 0:
            raise BagError('its tables take more steps to read than a recording of that size needs')
        return False


def check_not_cut(path: Path) -> None:
    """Refuse a database file that is shorter than its header says.

    SQLite fills what is missing of its last page with zeros, so an image would come out with a black end.
    Layout: https://www.sqlite.org/fileformat2.html#the_database_header

    Raises:
        BagError: the file is cut.
    """
    with path.open('rb') as file:
        header = file.read(100)
    if len(header) < 100 or not header.startswith(_MAGIC):
        return  # SQLite itself says what is wrong
    page_size, changes, pages, valid_for = struct.unpack('>16xH6xII60xI4x', header)
    expected = pages * (65536 if page_size == 1 else page_size)
    size = path.stat().st_size
    if changes == valid_for and size < expected:
        raise BagError(f'{path.name} is cut: it has {size} bytes, expected {expected}')


def _check_schema(connection: apsw.Connection, size: int) -> None:
    """Hold a file to plain tables whose content is no more than the file.

    Raises:
        BagError: it has something else.
    """
    names = []
    for number, (kind, name, root) in enumerate(
            connection.execute('SELECT type, name, rootpage FROM sqlite_master')):
        # A virtual table has no root.
        if kind not in ('table', 'index') or not root or number >= _MAX_OBJECTS:
            raise BagError(f'its schema has {kind} {name}: expected plain tables and indexes, as recorders '
                           f'make them, {_MAX_OBJECTS} at most')
        names += [name] if kind == 'table' else []
    for name in names:
        columns = list(connection.execute(f'PRAGMA table_xinfo({_quoted(name)})'))
        if computed := [column[1] for column in columns if column[6]]:
            raise BagError(f'column {computed[0]} of its table {name} is computed: expected a stored one')
        if name.lower() in _TABLES:
            totals = ', '.join(f'total(octet_length({_quoted(column[1])}))' for column in columns)
            held = sum(next(connection.execute(f'SELECT {totals} FROM {_quoted(name)}')))
            limit = _DIGITS * size if name.lower() == 'messages' else MAX_TOPICS_BYTES
            if held > limit:
                raise BagError(f'its table {name} claims {held:.0f} bytes: expected at most {limit}')


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
