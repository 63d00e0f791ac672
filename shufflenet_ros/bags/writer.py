# SPDX-License-Identifier: Apache-2.0
"""Write small ROS 2 bags of camera messages, for the demo and tests."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from rosbags.interfaces import Connection
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from shufflenet_ros.bags.errors import BagError

Storage = Literal['mcap', 'db3']

_PLUGINS = {'mcap': StoragePlugin.MCAP, 'db3': StoragePlugin.SQLITE3}
# The newest version that Humble reads; later distributions read it too.
_METADATA_VERSION: Literal[8] = 8


class BagWriter:
    """A new ROS 2 bag folder. Use it as a context manager, which writes the index.

    Every message is logged at its own stamp unless `log_ns` is given.
    """

    def __init__(self, path: str | Path, storage: Storage = 'mcap'):
        """Create the folder.

        Raises:
            BagError: it exists or cannot be created, or the storage is neither mcap nor db3.
        """
        if storage not in _PLUGINS:
            raise BagError(f'storage {storage!r}: expected one of {sorted(_PLUGINS)}')
        if storage == 'db3' and (special := set('?#%') & set(str(path))):
            raise BagError(f'bag {path} cannot be written: {special.pop()} in the name of a db3 is '
                           'special to SQLite; choose another name, or storage mcap')
        self._types = get_typestore(Stores.ROS2_HUMBLE)
        self._connections: dict[str, Connection] = {}
        try:
            self._writer = Writer(Path(path), version=_METADATA_VERSION, storage_plugin=_PLUGINS[storage])
            self._writer.open()
        except Exception as error:
            raise BagError(f'bag {path} cannot be written: {error}') from error

    def image(self, topic: str, pixels: npt.NDArray[Any], encoding: str, stamp_ns: int,
              frame_id: str = 'camera', log_ns: int | None = None) -> None:
        """Add a sensor_msgs/Image.

        Args:
            pixels: (H, W) or (H, W, C), of the encoding's type, in either byte order.
            encoding: such as bgr8; the pixels are not converted.
            stamp_ns: of the header, in nanoseconds.
        """
        data = np.ascontiguousarray(pixels)
        height, width = data.shape[:2]
        step = data.nbytes // height
        flat = data.view(np.uint8).reshape(-1)
        fields = (height, width, encoding, int(data.dtype.byteorder == '>'), step, flat)
        self._write(topic, 'sensor_msgs/msg/Image', fields, stamp_ns, frame_id, log_ns)

    def compressed(self, topic: str, data: bytes, format_text: str, stamp_ns: int,
                   frame_id: str = 'camera', log_ns: int | None = None) -> None:
        """Add a sensor_msgs/CompressedImage with these JPEG or PNG bytes and this format field."""
        fields = (format_text, np.frombuffer(data, np.uint8))
        self._write(topic, 'sensor_msgs/msg/CompressedImage', fields, stamp_ns, frame_id, log_ns)

    def camera_info(self, topic: str, width: int, height: int, stamp_ns: int,
                    frame_id: str = 'camera', log_ns: int | None = None) -> None:
        """Add a sensor_msgs/CameraInfo of an ideal camera with the image's width as focal length."""
        focal, cx, cy = float(width), width / 2, height / 2
        k = np.array([focal, 0, cx, 0, focal, cy, 0, 0, 1], np.float64)
        p = np.array([focal, 0, cx, 0, 0, focal, cy, 0, 0, 0, 1, 0], np.float64)
        roi = self._types.types['sensor_msgs/msg/RegionOfInterest'](0, 0, 0, 0, False)
        fields = (height, width, 'plumb_bob', np.zeros(5), k, np.eye(3).reshape(-1), p, 0, 0, roi)
        self._write(topic, 'sensor_msgs/msg/CameraInfo', fields, stamp_ns, frame_id, log_ns)

    def _write(self, topic: str, msgtype: str, fields: tuple[Any, ...], stamp_ns: int,
               frame_id: str, log_ns: int | None) -> None:
        types = self._types.types
        stamp = types['builtin_interfaces/msg/Time'](*divmod(stamp_ns, 1_000_000_000))
        header = types['std_msgs/msg/Header'](stamp, frame_id)
        message = types[msgtype](header, *fields)
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(topic, msgtype, typestore=self._types)
        if self._connections[topic].msgtype != msgtype:
            raise BagError(f'topic {topic} has type {self._connections[topic].msgtype}: got {msgtype}; '
                           'use another topic')
        raw = self._types.serialize_cdr(message, msgtype)
        self._writer.write(self._connections[topic], stamp_ns if log_ns is None else log_ns, raw)

    def __enter__(self) -> 'BagWriter':
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()
