# SPDX-License-Identifier: Apache-2.0
"""Read any bag (ROS 1 .bag, ROS 2 db3 and mcap) as messages with topic, type, log time and bytes.

rosbags reads; this module adds one interface, one error class and limits. A message is only deserialized on
request, so a broken type definition affects only its own topic.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

from rosbags.interfaces import Connection, ConnectionExtRosbag1, QosDurability
from rosbags.rosbag1 import Reader as Reader1
from rosbags.rosbag2 import Reader as Reader2

from shufflenet_ros.bags.codec import Codec
from shufflenet_ros.bags.errors import BagError, bag_errors
from shufflenet_ros.bags.limits import check_folder, limit_rosbags, unpack
from shufflenet_ros.bags.sqlite import MAX_UNPACKED_BYTES
from shufflenet_ros.core.files import kind_of

_REMEDIES = {
    '.bag': 'try `rosbag reindex` or record again',
    '.mcap': 'try `mcap recover` or record again',
    '.db3': 'try `sqlite3 FILE .recover` or record again',
    '': 'a bag folder needs metadata.yaml; try `ros2 bag reindex`, or give the storage file itself',
}


@dataclass(frozen=True)
class Topic:
    """A topic of a bag.

    Attributes:
        type: such as sensor_msgs/msg/Image, for ROS 1 bags too.
        count: number of messages, from the bag's index.
        latched: late subscribers get the last message too (transient local; latching in ROS 1).
    """

    name: str
    type: str
    count: int
    latched: bool


@dataclass(frozen=True)
class BagMessage:
    """One message of a bag.

    Attributes:
        type: such as sensor_msgs/msg/Image.
        log_ns: time of recording, in nanoseconds; the header has the time at which the image was taken.
        raw: its bytes, CDR in a ROS 2 bag, ROS 1 serialization in a ROS 1 bag.
        number: its position among the messages that are read, from 0.
    """

    topic: str
    type: str
    log_ns: int
    raw: bytes = field(repr=False)
    number: int
    _codec: Codec = field(repr=False, compare=False)

    @cached_property
    def message(self) -> Any:
        """An object with the message's fields; arrays are NumPy views of `raw`.

        Raises:
            BagError: the bytes do not fit the type, or its definition is unknown or broken.
        """
        with bag_errors(f'message {self.number} on {self.topic} ({self.type})'):
            return self._codec.deserialize(self.raw, self.type)

    def cdr(self) -> bytes | memoryview:
        """Its bytes as ROS 2 sends them; ROS 1 bytes are converted.

        Raises:
            BagError: a ROS 1 message that is damaged, or whose type is different or unknown in ROS 2.
        """
        with bag_errors(f'message {self.number} on {self.topic} ({self.type})'):
            return self._codec.to_cdr(self.raw, self.type)


def stamp_ns(message: Any) -> int:
    """The stamp in a message's header, in nanoseconds."""
    stamp = message.header.stamp
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


class Bag:
    """An open bag; use it as a context manager.

    Attributes:
        topics: sorted by name.
        ros1: whether it is a ROS 1 bag.
        start_ns, end_ns: log times of the first and last message, from the bag's index; 0 if it is empty.
    """

    def __init__(self, path: str | Path):
        """Open it and read its index.

        Raises:
            BagError: not a bag, damaged, or needs too much memory or disk.
        """
        self.path = Path(path)
        is_folder = self.path.is_dir()
        suffix = '' if is_folder else self.path.suffix
        self.ros1 = suffix == '.bag'
        self._remedy = _REMEDIES.get(suffix, '')
        if not self.path.exists():
            raise BagError(f'bag {self.path} does not exist: expected a bag folder or file')
        if not is_folder and (kind := kind_of(self.path.stat())):
            raise BagError(f'bag {self.path}: expected a regular file or a folder, got {kind}')
        limit_rosbags()
        with bag_errors(f'bag {self.path}', self._remedy):
            if is_folder:
                check_folder(self.path)
            self._reader = Reader1(self.path) if self.ros1 else Reader2(self.path)
            self._reader.open()
            self._packed = False
            if isinstance(self._reader, Reader2) and self._reader.compression_mode == 'message':
                self._packed = True  # unpacked in `messages`, because rosbags would do it without a limit
                storage = self._reader.storage
                storage.metadata = storage.metadata._replace(compression_mode=None)
            self.topics = tuple(
                Topic(name, info.connections[0].msgtype, info.msgcount,
                      latched=any(map(_is_latched, info.connections)))
                for name, info in sorted(self._reader.topics.items()))
            empty = not self._reader.message_count
            self.start_ns = 0 if empty else self._reader.start_time
            self.end_ns = 0 if empty else self._reader.end_time - 1
            self._codec = Codec(self._reader.connections, self.ros1)

    def messages(self, topics: Collection[str] | None = None) -> Iterator[BagMessage]:
        """The messages of these topics (None: of all topics) in order of log time.

        Raises:
            BagError: an unknown topic, or damage; the error says at which message.
        """
        unknown = sorted(set(topics or ()) - {topic.name for topic in self.topics})
        if unknown:
            raise BagError(f'bag {self.path} has no topic {unknown}: it has {[t.name for t in self.topics]}')
        wanted = [c for c in self._reader.connections if topics is None or c.topic in topics]
        if not wanted:
            return
        source = self._reader.messages(wanted)
        for number in count():
            where = f'bag {self.path}: message {number} (the {number} before it were read)'
            with bag_errors(where, self._remedy):
                item = next(source, None)
                if item is None:
                    return
                connection, log_ns, raw = item
                if self._packed:
                    raw = unpack(raw, 'zstd')
                if not isinstance(raw, bytes) or not isinstance(log_ns, int) or len(raw) > MAX_UNPACKED_BYTES:
                    raise BagError(f'got {type(raw).__name__} of length {len(raw)} at {log_ns!r}: '
                                   f'expected a time and at most {MAX_UNPACKED_BYTES} bytes')
            yield BagMessage(connection.topic, connection.msgtype, log_ns, raw, number, self._codec)

    def __enter__(self) -> 'Bag':
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()


def _is_latched(connection: Connection) -> bool:
    if isinstance(connection.ext, ConnectionExtRosbag1):
        return bool(connection.ext.latching)
    profiles = connection.ext.offered_qos_profiles
    return any(qos.durability == QosDurability.TRANSIENT_LOCAL for qos in profiles)
