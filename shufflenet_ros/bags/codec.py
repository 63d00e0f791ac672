# SPDX-License-Identifier: Apache-2.0
"""Deserialize a bag's messages, and convert ROS 1 bytes to ROS 2 bytes."""

from functools import lru_cache
from typing import Any

from rosbags.convert.converter import is_same_wireformat
from rosbags.interfaces import Connection, MessageDefinitionFormat
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from shufflenet_ros.bags.errors import BagError


@lru_cache(maxsize=2)
def _known_types(ros1: bool) -> Typestore:
    return get_typestore(Stores.ROS1_NOETIC if ros1 else Stores.LATEST)


class Codec:
    """Deserializes with the types of ROS itself, or else with the definitions in the bag."""

    def __init__(self, connections: list[Connection], ros1: bool):
        self._ros1 = ros1
        self._definitions = {c.msgtype: c.msgdef for c in connections}
        self._stores: dict[str, Typestore] = {}

    def _store(self, msgtype: str) -> Typestore:
        if msgtype in _known_types(self._ros1).fielddefs:
            return _known_types(self._ros1)
        if msgtype not in self._stores:
            definition = self._definitions[msgtype]
            if definition.format == MessageDefinitionFormat.NONE:
                raise BagError(f'the bag has no definition of {msgtype}, and it is not a type of ROS itself')
            store = get_typestore(Stores.EMPTY)
            if definition.format == MessageDefinitionFormat.MSG:
                store.register(get_types_from_msg(definition.data, msgtype))
            else:
                store.register(get_types_from_idl(definition.data))
            self._stores[msgtype] = store
        return self._stores[msgtype]

    def deserialize(self, raw: bytes, msgtype: str) -> Any:
        """An object with the message's fields. Raises any error of rosbags."""
        store = self._store(msgtype)
        return store.deserialize_ros1(raw, msgtype) if self._ros1 else store.deserialize_cdr(raw, msgtype)

    def to_cdr(self, raw: bytes, msgtype: str) -> bytes | memoryview:
        """ROS 2 bytes. A ROS 1 type must have the same fields in ROS 2; their names may differ."""
        if not self._ros1:
            return raw
        ros1, ros2 = self._store(msgtype), _known_types(ros1=False)
        if msgtype not in ros2.fielddefs or not is_same_wireformat(ros1, ros2, msgtype, msgtype):
            raise BagError(f'{msgtype} of ROS 1 has no equivalent in ROS 2: leave the topic out')
        return ros2.ros1_to_cdr(raw, msgtype)
