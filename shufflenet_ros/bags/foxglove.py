# SPDX-License-Identifier: Apache-2.0
"""Write an mcap file for Foxglove: images as ROS 2 messages, and beside each one texts to draw over it.

The texts are foxglove.ImageAnnotations in JSON with their schema, which rosbags cannot write.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mcap.writer import Writer
from rosbags.typesys import Stores, get_typestore

_COMPRESSED_IMAGE = 'sensor_msgs/msg/CompressedImage'
ANNOTATIONS = 'foxglove.ImageAnnotations'
_TYPES = get_typestore(Stores.ROS2_HUMBLE)
_WHITE, _SHADE = {'r': 1, 'g': 1, 'b': 1, 'a': 1}, {'r': 0, 'g': 0, 'b': 0, 'a': 0.6}


def _object(title: str, **properties: Any) -> dict[str, Any]:
    return {'title': title, 'type': 'object', 'properties': properties, 'required': list(properties)}


def _list(items: Any) -> dict[str, Any]:
    return {'type': 'array', 'items': items}


_INTEGER, _NUMBER, _STRING = ({'type': name} for name in ('integer', 'number', 'string'))
_COLOR = _object('foxglove.Color', r=_NUMBER, g=_NUMBER, b=_NUMBER, a=_NUMBER)
_POINT = _object('foxglove.Point2', x=_NUMBER, y=_NUMBER)
_TIME = {**_object('time', sec=_INTEGER, nsec=_INTEGER), 'required': []}
_METADATA = _list(_object('foxglove.KeyValuePair', key=_STRING, value=_STRING))
SCHEMA = _object(
    ANNOTATIONS,
    circles=_list(_object(
        'foxglove.CircleAnnotation', timestamp=_TIME, position=_POINT, diameter=_NUMBER, thickness=_NUMBER,
        fill_color=_COLOR, outline_color=_COLOR, metadata=_METADATA)),
    points=_list(_object(
        'foxglove.PointsAnnotation', timestamp=_TIME, type=_INTEGER, points=_list(_POINT),
        outline_color=_COLOR, outline_colors=_list(_COLOR), fill_color=_COLOR, thickness=_NUMBER,
        metadata=_METADATA)),
    texts=_list(_object(
        'foxglove.TextAnnotation', timestamp=_TIME, position=_POINT, text=_STRING, font_size=_NUMBER,
        text_color=_COLOR, background_color=_COLOR, metadata=_METADATA)))


class FoxgloveWriter:
    """Writes a file; `finish` writes its index and closes it. Any OSError of the file is raised."""

    def __init__(self, path: Path):
        self._writer = Writer(str(path))
        self._writer.start(profile='ros2')
        self._channels: dict[tuple[str, str], int] = {}

    def image(self, topic: str, msgtype: str, cdr: bytes | memoryview, log_ns: int) -> None:
        """Add a ROS 2 message of a type of ROS itself."""
        if (topic, msgtype) not in self._channels:
            definition = _TYPES.generate_msgdef(msgtype, ros_version=2)[0]
            self._register(topic, msgtype, 'ros2msg', definition, 'cdr')
        self._add(topic, msgtype, bytes(cdr), log_ns)

    def jpeg(self, topic: str, jpeg: bytes, stamp_ns: int, log_ns: int) -> None:
        """Add a JPEG as a sensor_msgs/CompressedImage."""
        types = _TYPES.types
        stamp = types['builtin_interfaces/msg/Time'](*divmod(stamp_ns, 10**9))
        header = types['std_msgs/msg/Header'](stamp, 'camera')
        message = types[_COMPRESSED_IMAGE](header, 'jpeg', np.frombuffer(jpeg, np.uint8))
        self.image(topic, _COMPRESSED_IMAGE, _TYPES.serialize_cdr(message, _COMPRESSED_IMAGE), log_ns)

    def texts(self, topic: str, lines: Sequence[str], stamp_ns: int, log_ns: int, height: int) -> None:
        """Add lines of text over the image with this stamp.

        Args:
            topic: of the image; the texts are on `<topic>/annotations`.
            height: of the image in pixels.
        """
        size, sec_nsec = max(height / 20, 8), divmod(max(stamp_ns, 0), 10**9)
        time = dict(zip(('sec', 'nsec'), sec_nsec))
        texts = [{'timestamp': time, 'position': {'x': size / 2, 'y': 1.4 * size * (row + 1)}, 'text': line,
                  'font_size': size, 'text_color': _WHITE, 'background_color': _SHADE, 'metadata': []}
                 for row, line in enumerate(lines)]
        topic += '/annotations'
        if (topic, ANNOTATIONS) not in self._channels:
            self._register(topic, ANNOTATIONS, 'jsonschema', json.dumps(SCHEMA), 'json')
        message = {'circles': [], 'points': [], 'texts': texts}
        self._add(topic, ANNOTATIONS, json.dumps(message).encode(), log_ns)

    def finish(self) -> None:
        """Write the index and close the file."""
        self._writer.finish()  # type: ignore[no-untyped-call]

    def _register(self, topic: str, name: str, encoding: str, schema: str, message_encoding: str) -> None:
        number = self._writer.register_schema(name, encoding, schema.encode())
        self._channels[topic, name] = self._writer.register_channel(topic, message_encoding, number)

    def _add(self, topic: str, name: str, data: bytes, log_ns: int) -> None:
        self._writer.add_message(self._channels[topic, name], max(log_ns, 0), data, max(log_ns, 0))
