"""What SQLite does not say about a db3 file: that its end is missing."""

import struct
from pathlib import Path

from shufflenet_ros.bags.errors import BagError

_MAGIC = b'SQLite format 3\0'


def check_not_cut(path: Path) -> None:
    """Refuse a database file that is shorter than its header says.

    SQLite fills what is missing of its last page with zeros, so a picture would come out with a black end.
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
