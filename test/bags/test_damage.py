# SPDX-License-Identifier: Apache-2.0
"""Damaged and hostile bags: a BagError that says where, no other exception, no memory filled."""

from __future__ import annotations

import json
import random
import shutil
import struct
import subprocess
import sys
import zlib
from collections import Counter
from pathlib import Path

import pytest

from shufflenet_ros.bags.errors import BagError
from shufflenet_ros.bags.reader import Bag

MUTANTS, CUTS = 120, 40  # of each kind
KINDS = {'mcap': 'mcap file', 'db3': 'db3 file', 'bag': 'ROS 1', 'lz4': 'ROS 1 lz4'}


def outcome(path: Path, expected: list[bytes] | None = None) -> str:
    """Read and decode everything; only a BagError is caught."""
    raws = []
    try:
        with Bag(path) as bag:
            for item in bag.messages():
                raws.append(item.raw)
                try:
                    item.message  # noqa: B018
                    item.cdr()
                except BagError as error:
                    assert f'message {item.number} on ' in str(error)
                    return 'message rejected'
    except BagError as error:
        return 'stopped at a message' if 'were read' in str(error) else 'not opened'
    return 'read whole' if raws == expected or (expected is None and len(raws) == 18) else 'read in part'


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Change a few bytes, or zero, remove or double up to 64 bytes."""
    mutant = bytearray(data)
    at, length = rng.randrange(len(data)), rng.randrange(1, 64)
    kind = rng.randrange(5)
    if kind == 0:
        for _ in range(rng.randrange(1, 8)):
            mutant[rng.randrange(len(data))] = rng.randrange(256)
    elif kind == 1:
        mutant[at:at + length] = bytes(len(mutant[at:at + length]))
    elif kind == 2:
        del mutant[at:at + length]
    elif kind == 3:
        mutant[at:at] = mutant[at:at + length]
    else:
        mutant[at:at + 8] = rng.choice((b'\xff' * 8, struct.pack('<Q', 1 << 40), struct.pack('<q', -1)))
    return bytes(mutant)


@pytest.mark.parametrize('kind', KINDS)
def test_mutants_give_messages_or_a_bag_error(bags: dict[str, Path], tmp_path: Path, kind: str) -> None:
    data = bags[KINDS[kind]].read_bytes()
    path = tmp_path / f'mutant{bags[KINDS[kind]].suffix}'
    rng = random.Random(20)
    seen: Counter[str] = Counter()
    for _ in range(MUTANTS):
        path.write_bytes(mutate(data, rng))
        seen[outcome(path)] += 1
    print(kind, dict(seen))
    assert seen['read whole'] < MUTANTS and len(seen) > 1, 'the mutations damaged nothing'


@pytest.mark.parametrize('kind', KINDS)
def test_truncated_bags_never_read_as_whole(bags: dict[str, Path], tmp_path: Path, kind: str) -> None:
    data = bags[KINDS[kind]].read_bytes()
    with Bag(bags[KINDS[kind]]) as bag:
        whole = [item.raw for item in bag.messages()]
    path = tmp_path / f'truncated{bags[KINDS[kind]].suffix}'
    seen: Counter[str] = Counter()
    for cut in range(CUTS):
        path.write_bytes(data[:len(data) * cut // CUTS])
        seen[outcome(path, whole)] += 1
    print(kind, dict(seen))
    assert set(seen) <= {'not opened', 'stopped at a message'}


def test_mutated_metadata_gives_a_bag_or_a_bag_error(bags: dict[str, Path], tmp_path: Path) -> None:
    bag = shutil.copytree(bags['db3'], tmp_path / 'db3')
    text = (bag / 'metadata.yaml').read_bytes()
    rng = random.Random(21)
    seen: Counter[str] = Counter()
    for _ in range(60):
        (bag / 'metadata.yaml').write_bytes(mutate(text, rng))
        seen[outcome(bag)] += 1
    print(dict(seen))
    assert seen['not opened']


def chunk_of(data: bytes) -> tuple[int, int]:
    """Offset and length of the records in an mcap's first chunk, uncompressed."""
    at = 8
    while data[at] != 0x06:
        at += 9 + struct.unpack_from('<Q', data, at + 1)[0]
    name_length = struct.unpack_from('<I', data, at + 37)[0]
    start = at + 41 + name_length + 8
    return start, struct.unpack_from('<Q', data, start - 8)[0]


def test_a_wrong_checksum_stops_at_the_message(bags: dict[str, Path], tmp_path: Path) -> None:
    data = bytearray(bags['mcap file'].read_bytes())
    start, length = chunk_of(data)
    crc_at = start - 8 - 4 - 4  # before compression's name ('') and the records' size
    struct.pack_into('<I', data, crc_at, zlib.crc32(data[start:start + length]))
    path = tmp_path / 'checked.mcap'
    path.write_bytes(data)
    assert outcome(path) == 'read whole'
    data[start + length // 2] ^= 1
    path.write_bytes(data)
    with Bag(path) as bag, pytest.raises(BagError, match=r'message 0 \(the 0 before it were .*checksum'):
        list(bag.messages())


def test_damage_in_the_middle_names_the_message_and_a_remedy(bags: dict[str, Path], tmp_path: Path) -> None:
    data = bytearray(bags['ROS 1'].read_bytes())
    at = data.rindex(b'op=\x02')  # the header of the last message
    data[at:at + 4] = b'op=\x63'
    path = tmp_path / 'damaged.bag'
    path.write_bytes(data)
    got = []
    with Bag(path) as bag, pytest.raises(BagError, match=r'find message data.*rosbag reindex') as caught:
        for item in bag.messages():
            got.append(item.number)
    assert len(got) >= 15
    assert f'message {len(got)} (the {len(got)} before it were read)' in str(caught.value)


BOMB = '''
import bz2, io, json, resource, struct, sys
from pathlib import Path
import lz4.frame
import numpy as np
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from shufflenet_ros.bags.errors import BagError
from shufflenet_ros.bags.limits import zstd
from shufflenet_ros.bags.reader import Bag

folder, kind = Path(sys.argv[1]), sys.argv[2]

def packed(compressor):
    """A GiB of zeros, compressed a MiB at a time; less for bz2, which is slow."""
    block = bytes(1 << 20)
    begin = compressor.begin() if hasattr(compressor, 'begin') else b''
    count = 160 if kind == 'bz2' else 1024
    return begin + b''.join([*(compressor.compress(block) for _ in range(count)), compressor.flush()])

if kind == 'message':
    path = folder / 'bag'
    with Writer(path, version=8, storage_plugin=StoragePlugin.SQLITE3) as writer:
        store = get_typestore(Stores.LATEST)
        connection = writer.add_connection('/a', 'sensor_msgs/msg/Image', typestore=store)
        writer.write(connection, 1, packed(zstd.ZstdCompressor()))
    text = (path / 'metadata.yaml').read_text()
    text = text.replace("compression_mode: ''", 'compression_mode: message')
    (path / 'metadata.yaml').write_text(text.replace("compression_format: ''", 'compression_format: zstd'))
else:
    # A valid bag whose chunk is a bomb, by patching rosbags' writer.
    path = folder / ('bag.bag' if kind in ('lz4', 'bz2') else 'bag')
    make = {'lz4': lz4.frame.LZ4FrameCompressor, 'bz2': bz2.BZ2Compressor, 'chunk': zstd.ZstdCompressor}[kind]
    bomb = packed(make())
    if kind == 'chunk':
        writer = Writer(path, version=8, storage_plugin=StoragePlugin.MCAP)
        writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
    else:
        writer = Writer1(path)
        writer.set_compression(Writer1.CompressionFormat[kind.upper()])
    with writer:
        store = get_typestore(Stores.ROS1_NOETIC if kind != 'chunk' else Stores.LATEST)
        connection = writer.add_connection('/a', 'sensor_msgs/msg/CompressedImage', typestore=store)
        target = writer.storage if kind == 'chunk' else writer
        target.compressor = lambda data: bomb
        writer.write(connection, 1, bytes(64))
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
before = peak()
try:
    with Bag(path) as bag:
        list(bag.messages())
    outcome = 'read'
except BagError as error:
    outcome = str(error)
print(json.dumps({'outcome': outcome, 'rise_mib': peak() - before}))
'''


@pytest.mark.parametrize('kind', ['chunk', 'message', 'lz4', 'bz2'])
def test_a_bomb_is_an_error_before_it_fills_the_memory(repo_root: Path, tmp_path: Path, kind: str) -> None:
    done = subprocess.run([sys.executable, '-c', BOMB, str(tmp_path), kind], capture_output=True, text=True,
                          cwd=repo_root, timeout=120)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    print(result)
    assert 'unpacks to more than' in result['outcome']
    assert result['rise_mib'] < 300
