# SPDX-License-Identifier: Apache-2.0
"""Damaged and hostile bags: a BagError that says where, no other exception, no memory filled."""

import bz2
import random
import shutil
import struct
import zlib
from collections import Counter
from pathlib import Path

import lz4.frame
import pytest
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from shufflenet_ros.bags.errors import BagError
from shufflenet_ros.bags.limits import zstd
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


def outcomes(path: Path, versions, expected: list[bytes] | None = None) -> Counter[str]:
    """How often each outcome occurs when the file at a path has each of these contents."""
    seen: Counter[str] = Counter()
    for data in versions:
        path.write_bytes(data)
        seen[outcome(path if path.name != 'metadata.yaml' else path.parent, expected)] += 1
    print(path.name, dict(seen))
    return seen


@pytest.mark.parametrize('kind', KINDS)
def test_mutants_give_messages_or_a_bag_error(bags, tmp_path, kind):
    whole, rng = bags[KINDS[kind]], random.Random(20)
    data = whole.read_bytes()
    seen = outcomes(tmp_path / f'mutant{whole.suffix}', (mutate(data, rng) for _ in range(MUTANTS)))
    assert seen['read whole'] < MUTANTS and len(seen) > 1, 'the mutations damaged nothing'


@pytest.mark.parametrize('kind', KINDS)
def test_truncated_bags_never_read_as_whole(bags, tmp_path, kind):
    whole = bags[KINDS[kind]]
    data = whole.read_bytes()
    with Bag(whole) as bag:
        raws = [item.raw for item in bag.messages()]
    cuts = (data[:len(data) * cut // CUTS] for cut in range(CUTS))
    seen = outcomes(tmp_path / f'truncated{whole.suffix}', cuts, raws)
    assert set(seen) <= {'not opened', 'stopped at a message'}


def test_mutated_metadata_gives_a_bag_or_a_bag_error(bags, tmp_path):
    file = shutil.copytree(bags['db3'], tmp_path / 'db3') / 'metadata.yaml'
    text, rng = file.read_bytes(), random.Random(21)
    assert outcomes(file, (mutate(text, rng) for _ in range(60)))['not opened']


def chunk_of(data: bytes) -> tuple[int, int]:
    """Offset and length of the records in an mcap's first chunk, uncompressed."""
    at = 8
    while data[at] != 0x06:
        at += 9 + struct.unpack_from('<Q', data, at + 1)[0]
    name_length = struct.unpack_from('<I', data, at + 37)[0]
    start = at + 41 + name_length + 8
    return start, struct.unpack_from('<Q', data, start - 8)[0]


def test_a_wrong_checksum_stops_at_the_message(bags, tmp_path):
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


def test_damage_in_the_middle_names_the_message_and_a_remedy(bags, tmp_path):
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


def bomb(kind: str) -> bytes:
    """A GiB of zeros, compressed a MiB at a time; less in bz2, which is slow."""
    compressors = {'lz4': lz4.frame.LZ4FrameCompressor, 'bz2': bz2.BZ2Compressor}
    compressor, block = compressors.get(kind, zstd.ZstdCompressor)(), bytes(1 << 20)
    begin = compressor.begin() if kind == 'lz4' else b''
    parts = [compressor.compress(block) for _ in range(130 if kind == 'bz2' else 1024)]
    return begin + b''.join([*parts, compressor.flush()])


def write_bomb(path: Path, kind: str) -> Path:
    """A valid bag whose only chunk or message is a bomb, by patching rosbags' writer."""
    ros1, packed = path.suffix == '.bag', bomb(kind)
    if ros1:
        writer = Writer1(path)
        writer.set_compression(Writer1.CompressionFormat[kind.upper()])
    else:
        plugin = StoragePlugin.MCAP if kind == 'chunk' else StoragePlugin.SQLITE3
        writer = Writer(path, version=8, storage_plugin=plugin)
        if kind == 'chunk':
            writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
    with writer:
        types = get_typestore(Stores.ROS1_NOETIC if ros1 else Stores.LATEST)
        connection = writer.add_connection('/a', 'sensor_msgs/msg/CompressedImage', typestore=types)
        (writer if ros1 else writer.storage).compressor = lambda data: packed
        writer.write(connection, 1, packed if kind == 'message' else bytes(64))
        if kind == 'message':  # for the metadata
            writer.compression_mode, writer.compression_format = CompressionMode.MESSAGE, 'zstd'
    return path


def test_a_bomb_is_an_error_before_it_fills_the_memory(read_in_a_process, tmp_path):
    names = {'chunk': 'chunk', 'message': 'message', 'lz4': 'lz4.bag', 'bz2': 'bz2.bag'}
    outcome, rise_mib = read_in_a_process(write_bomb(tmp_path / name, kind) for kind, name in names.items())
    assert len(outcome) == 4 and all('unpacks to more than' in text for text in outcome.values())
    assert rise_mib < 300
