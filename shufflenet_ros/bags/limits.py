"""A bag may not claim more memory or disk than a bag of camera images needs.

rosbags unpacks whatever a compressed chunk, message or file holds, so 30 kB of zstd could become many
gigabytes. Here unpacking stops at a limit.
"""

import bz2
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lz4.frame  # type: ignore[import-untyped]
from rosbags.rosbag1 import reader as rosbag1_reader
from rosbags.rosbag2 import reader as rosbag2_reader
from rosbags.rosbag2 import storage_mcap

from shufflenet_ros.bags.errors import BagError
from shufflenet_ros.bags.sqlite import GuardedSqlite3Reader
from shufflenet_ros.bags.yaml_text import YamlError, read_yaml_text
from shufflenet_ros.core.files import open_regular

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# One raw 7680x4320 rgb8 frame is 95 MiB; recorders close a chunk after 1 to 4 MiB or one message.
MAX_UNPACKED_BYTES = 128 << 20
MAX_METADATA_BYTES = 2 << 20  # of metadata.yaml: some 2000 topics

_ZSTD_MAGIC, _ZSTD_SKIPPED = b'\x28\xb5\x2f\xfd', b'\x50\x2a\x4d\x18'

_DECOMPRESSORS: dict[str, Callable[[], Any]] = {
    'zstd': zstd.ZstdDecompressor, 'lz4': lz4.frame.LZ4FrameDecompressor, 'bz2': bz2.BZ2Decompressor,
}


def unpack(data: bytes | memoryview, compression: str, limit: int = MAX_UNPACKED_BYTES) -> bytes:
    """The bytes that one zstd, lz4 or bz2 frame holds.

    Raises:
        BagError: more than limit bytes come out, or the frame ends early.
    """
    decompressor = _DECOMPRESSORS[compression]()
    unpacked: bytes = decompressor.decompress(data, max_length=limit + 1)
    if len(unpacked) > limit:
        raise BagError(f'{compression} data unpacks to more than {limit} bytes: expected at most that many')
    if not decompressor.eof:
        raise BagError(f'{compression} data ends early, after {len(unpacked)} unpacked bytes')
    return unpacked


def _rosbag1_unpacker(compression: str) -> Callable[[bytes], bytes]:
    return lambda data: unpack(data, compression)


def _mcap_unpacker(compression: str) -> Callable[[bytes, int], bytes]:
    def unpacker(data: bytes, size: int) -> bytes:
        if size > MAX_UNPACKED_BYTES:
            raise BagError(f'mcap chunk of {size} bytes: expected at most {MAX_UNPACKED_BYTES}')
        return unpack(data, compression, size)
    return unpacker


def _guarded(path: Path) -> GuardedSqlite3Reader:
    return GuardedSqlite3Reader(path, MAX_UNPACKED_BYTES)


def bound_rosbags() -> None:
    """Put the limits into rosbags' tables of chunk decompressors and storage readers, which have none."""
    for reader, name in ((rosbag2_reader.DirectoryReader, 'sqlite3'), (rosbag2_reader.Reader, '.db3')):
        reader.STORAGE_PLUGINS = {**reader.STORAGE_PLUGINS, name: _guarded}  # type: ignore[dict-item]
    storage_mcap.DECOMPRESSORS.update({name: _mcap_unpacker(name) for name in ('lz4', 'zstd')})
    rosbag1_reader.decompressors.update({name: _rosbag1_unpacker(name) for name in ('lz4', 'bz2')})


def check_folder(path: Path) -> None:
    """Look at what rosbags would open in a bag folder, before it does.

    Raises:
        BagError: something else than regular files, a metadata.yaml that is too large or has aliases, or a
            compressed file that would fill the disk.
    """
    try:
        read_yaml_text(path / 'metadata.yaml', MAX_METADATA_BYTES)
    except YamlError as error:
        raise BagError(f'metadata.yaml: {error}') from error
    for file in sorted(path.iterdir()):
        if file.is_dir():
            continue
        with open_regular(file) as stream:
            head = stream.read(4)
        if head == _ZSTD_MAGIC or head[1:] == _ZSTD_SKIPPED[1:]:  # metadata.yaml can give it any name
            check_unpacked_fits(file)


def check_unpacked_fits(path: Path) -> None:
    """Refuse a zstd-compressed bag file that would fill the disk of the temporary folder it is unpacked to.

    Raises:
        BagError: it unpacks to more than half of what is free there, or is no whole zstd frame.
    """
    room = shutil.disk_usage(tempfile.gettempdir()).free // 2
    total = 0
    try:
        with zstd.open(path, 'rb') as stream:
            while block := stream.read(1 << 20):
                total += len(block)
                if total > room:
                    raise BagError(f'{path} unpacks to more than {room} bytes, half of what is free in '
                                   f'{tempfile.gettempdir()}: make room or set TMPDIR')
    except (OSError, EOFError, zstd.ZstdError) as error:
        raise BagError(f'{path} cannot be unpacked: {error}') from error
