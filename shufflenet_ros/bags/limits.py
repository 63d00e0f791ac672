# SPDX-License-Identifier: Apache-2.0
"""Limits on the memory and disk space that a bag may use.

rosbags unpacks a compressed chunk, message or file of any size: 30 kB of zstd can become many gigabytes.
Here unpacking stops at a limit.
"""

import bz2
import shutil
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lz4.frame  # type: ignore[import-untyped]
from rosbags.rosbag1 import reader as rosbag1_reader
from rosbags.rosbag2 import reader as rosbag2_reader
from rosbags.rosbag2 import storage_mcap

from shufflenet_ros.bags.errors import BagError
from shufflenet_ros.bags.sqlite import MAX_UNPACKED_BYTES, GuardedSqlite3Reader
from shufflenet_ros.core.files import open_regular
from shufflenet_ros.core.strict_yaml import YamlError, bounded_yaml_text

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAX_METADATA_BYTES = 2 << 20  # of metadata.yaml: about 2000 topics

_ZSTD_MAGIC, _ZSTD_SKIPPABLE = b'\x28\xb5\x2f\xfd', b'\x50\x2a\x4d\x18'

_DECOMPRESSORS: dict[str, Callable[[], Any]] = {
    'zstd': zstd.ZstdDecompressor, 'lz4': lz4.frame.LZ4FrameDecompressor, 'bz2': bz2.BZ2Decompressor,
}


def unpack(data: bytes | memoryview, compression: str, limit: int = MAX_UNPACKED_BYTES) -> bytes:
    """The bytes in one zstd, lz4 or bz2 frame.

    Raises:
        BagError: it unpacks to more than limit bytes, or ends early.
    """
    decompressor = _DECOMPRESSORS[compression]()
    unpacked: bytes = decompressor.decompress(data, max_length=limit + 1)
    if len(unpacked) > limit:
        raise BagError(f'{compression} data unpacks to more than {limit} bytes: expected at most that many')
    if not decompressor.eof:
        raise BagError(f'{compression} data ends early, after {len(unpacked)} unpacked bytes')
    return unpacked


def _unpack_mcap_chunk(data: bytes, size: int, compression: str) -> bytes:
    if size > MAX_UNPACKED_BYTES:
        raise BagError(f'mcap chunk of {size} bytes: expected at most {MAX_UNPACKED_BYTES}')
    return unpack(data, compression, size)


def _msgdef(schema: Any, known: Callable[[Any], Any] = storage_mcap.get_msgdef) -> Any:
    """The definition of an mcap schema; of a format that is not ROS's, such as JSON, none."""
    foreign = schema is not None and schema.encoding not in ('', 'ros2msg', 'ros2idl', 'omgidl')
    return known(None if foreign else schema)


def limit_rosbags() -> None:
    """Replace rosbags' decompressors and sqlite3 reader, which have no limits; accept foreign schemas."""
    for reader, name in ((rosbag2_reader.DirectoryReader, 'sqlite3'), (rosbag2_reader.Reader, '.db3')):
        reader.STORAGE_PLUGINS = {**reader.STORAGE_PLUGINS, name: GuardedSqlite3Reader}
    storage_mcap.DECOMPRESSORS.update({name: partial(_unpack_mcap_chunk, compression=name)
                                       for name in ('lz4', 'zstd')})
    storage_mcap.get_msgdef = _msgdef
    rosbag1_reader.decompressors.update({name: partial(unpack, compression=name) for name in ('lz4', 'bz2')})


def check_folder(path: Path) -> None:
    """Check the files of a bag folder before rosbags opens them.

    Raises:
        BagError: metadata.yaml is too large or has aliases, or a compressed file would fill the disk.
        OSError: not a regular file.
    """
    try:
        bounded_yaml_text(path / 'metadata.yaml', MAX_METADATA_BYTES)
    except YamlError as error:
        raise BagError(f'metadata.yaml: {error}') from error
    for file in sorted(path.iterdir()):
        if file.is_dir():
            continue
        with open_regular(file) as stream:
            head = stream.read(4)
        if head == _ZSTD_MAGIC or head[1:] == _ZSTD_SKIPPABLE[1:]:  # under any name: metadata.yaml decides
            _check_unpacked_fits(file)


def _check_unpacked_fits(path: Path) -> None:
    """Check that a bag file unpacks to at most half of the free space in the temporary folder.

    rosbags unpacks it there.
    """
    limit = shutil.disk_usage(tempfile.gettempdir()).free // 2
    total = 0
    try:
        with zstd.open(path, 'rb') as stream:
            while block := stream.read(1 << 20):
                total += len(block)
                if total > limit:
                    raise BagError(f'{path} unpacks to more than {limit} bytes, half of the free space in '
                                   f'{tempfile.gettempdir()}: free some space there, or set TMPDIR')
    except (OSError, EOFError, zstd.ZstdError) as error:
        raise BagError(f'{path} cannot be unpacked: {error}') from error
