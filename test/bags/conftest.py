# SPDX-License-Identifier: Apache-2.0
"""Small bags of every kind, written once per session."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from shufflenet_ros.bags.reader import Bag
from shufflenet_ros.bags.writer import BagWriter

START_NS = 1_700_000_000_000_000_000
PERIOD_NS = 33_333_333
FRAMES = 6


def image(number: int) -> np.ndarray:
    """(24, 32, 3) uint8, different for every number."""
    y, x, c = np.ogrid[:24, :32, :3]
    return ((7 * y + 13 * x + 29 * c + 31 * number) % 256).astype(np.uint8)


def write_camera_bag(path: Path, storage: str, frames: int = FRAMES) -> Path:
    """A camera's three topics; every message is logged 1 ms after its stamp."""
    with BagWriter(path, storage) as bag:
        for i in range(frames):
            stamp = START_NS + i * PERIOD_NS
            log = stamp + 1_000_000
            bag.image('/camera/image_raw', image(i), 'bgr8', stamp, 'optical', log)
            data = bytes(range(i, i + 50))
            bag.compressed('/camera/image_raw/compressed', data, 'jpeg', stamp, 'optical', log)
            bag.camera_info('/camera/camera_info', 32, 24, stamp, 'optical', log)
    return path


def copy_bag(writer, source: Path, ros1: bool = False) -> None:
    """Write the messages of a ROS 2 bag with one of rosbags' writers."""
    latest = get_typestore(Stores.LATEST)
    types = get_typestore(Stores.ROS1_NOETIC) if ros1 else latest
    with writer, Bag(source) as bag:
        connections = {t.name: writer.add_connection(t.name, t.type, typestore=types) for t in bag.topics}
        for item in bag.messages():
            raw = latest.cdr_to_ros1(item.raw, item.type) if ros1 else item.raw
            writer.write(connections[item.topic], item.log_ns, raw)


def write_ros1_bag(path: Path, source: Path, compression: str | None = None) -> Path:
    """The same messages as ROS 1."""
    writer = Writer1(path)
    if compression:
        writer.set_compression(Writer1.CompressionFormat[compression.upper()])
    copy_bag(writer, source, ros1=True)
    return path


def write_packed_bag(path: Path, source: Path, storage: str, mode: str) -> Path:
    """The same messages, zstd-compressed by 'file', 'message' or 'storage' (mcap chunks)."""
    plugin = StoragePlugin.MCAP if storage == 'mcap' else StoragePlugin.SQLITE3
    writer = Writer(path, version=8, storage_plugin=plugin)
    writer.set_compression(CompressionMode[mode.upper()], CompressionFormat.ZSTD)
    copy_bag(writer, source)
    return path


@pytest.fixture(scope='session')
def bags(tmp_path_factory) -> dict[str, Path]:
    """Kind -> path; all kinds have the same messages."""
    root = tmp_path_factory.mktemp('bags')
    mcap, db3 = write_camera_bag(root / 'mcap', 'mcap'), write_camera_bag(root / 'db3', 'db3')
    return {
        'mcap': mcap, 'db3': db3,
        'mcap file': mcap / 'mcap.mcap', 'db3 file': db3 / 'db3.db3',
        'ROS 1': write_ros1_bag(root / 'plain.bag', mcap),
        'ROS 1 lz4': write_ros1_bag(root / 'lz4.bag', mcap, 'lz4'),
        'ROS 1 bz2': write_ros1_bag(root / 'bz2.bag', mcap, 'bz2'),
        'mcap chunks zstd': write_packed_bag(root / 'chunks', mcap, 'mcap', 'storage'),
        'mcap messages zstd': write_packed_bag(root / 'messages', mcap, 'mcap', 'message'),
        'db3 messages zstd': write_packed_bag(root / 'db3messages', mcap, 'db3', 'message'),
        'db3 file zstd': write_packed_bag(root / 'db3file', mcap, 'db3', 'file'),
    }


READ = """
import json, resource, sys
from shufflenet_ros.bags.errors import BagError
from shufflenet_ros.bags.reader import Bag

def peak_mib():  # not ru_maxrss, which starts at the parent's value
    line = next(line for line in open('/proc/self/status') if line.startswith('VmHWM'))
    return int(line.split()[1]) >> 10

resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
outcome, before = {}, peak_mib()
for path in sys.argv[1:]:
    try:
        with Bag(path) as bag:
            outcome[path] = f'read {sum(1 for _ in bag.messages())}'
    except BagError as error:
        outcome[path] = str(error)
print(json.dumps([outcome, peak_mib() - before]))
"""


@pytest.fixture
def read_in_a_process(repo_root):
    """Read bags within 60 s of CPU time: how each ended by path, and the growth of the memory in MiB."""
    def read(paths) -> tuple[dict[str, str], int]:
        done = subprocess.run([sys.executable, '-c', READ, *paths], capture_output=True, text=True,
                              cwd=repo_root, timeout=300)
        assert done.returncode == 0, done.stderr
        print(done.stdout)
        outcome, rise_mib = json.loads(done.stdout)
        return outcome, rise_mib
    return read
