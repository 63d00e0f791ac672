# SPDX-License-Identifier: Apache-2.0
"""Write a bundle: an ONNX graph with its card in the metadata."""

from pathlib import Path
from typing import Any

from shufflenet_ros.bundles.errors import mismatch
from shufflenet_ros.bundles.onnx_file import LENGTH_DELIMITED, MODEL_METADATA, fields, strings
from shufflenet_ros.core.card import METADATA_KEY, Card
from shufflenet_ros.core.files import write_whole

MAX_OPSET = 17
MAX_IR = 8
"""onnxruntime 1.23.2 rejects newer ones. It is the newest for Python 3.10, and so for a Humble robot."""

_KEY, _VALUE = 1, 2  # fields of a metadata entry


def import_onnx() -> Any:
    """The onnx package.

    Raises:
        ModuleNotFoundError: not installed; the message names the extra to install.
    """
    try:
        import onnx
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("writing ONNX needs the onnx package: pip install 'shufflenet_ros[export]'",
                                  name='onnx') from error
    return onnx


def save_bundle(graph: bytes, card: Card, path: Path) -> None:
    """Write an ONNX graph with a card in its metadata, whole or not at all. Needs the onnx package.

    Raises:
        ModelError: the graph's opset is newer than robots can run.
        WriteError: the file cannot be written.
    """
    model = import_onnx().load_from_string(graph)
    opset = max(entry.version for entry in model.opset_import if entry.domain in ('', 'ai.onnx'))
    if opset > MAX_OPSET:
        raise mismatch(path.name, f'opset <= {MAX_OPSET}', str(opset), 'export again with a lower one')
    # Fields of IR versions above 8 don't occur at opset 17 and below, so lowering the number is enough.
    model.ir_version = min(model.ir_version, MAX_IR)
    write_whole(path, with_metadata(model.SerializeToString(), METADATA_KEY, card.to_json()))


def with_metadata(data: bytes, key: str, value: str) -> bytes:
    """The ONNX file with a metadata string, in place of the old one of that key, or at the end.

    No other byte changes, so the graph keeps the sha256 that its variants refer to. Needs no onnx package.

    Raises:
        ModelError: the bytes are not an ONNX model.
    """
    text = _field(_KEY, key.encode()) + _field(_VALUE, value.encode())
    parts: list[bytes] = []
    place = None
    begin = 0
    for number, content, end in fields(data, (0, len(data))):
        if number == MODEL_METADATA and isinstance(content, tuple) and strings(data, content, _KEY) == [key]:
            place = len(parts) if place is None else place
        else:
            parts.append(data[begin:end])
        begin = end
    parts.insert(len(parts) if place is None else place, _field(MODEL_METADATA, text))
    return b''.join(parts)


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | LENGTH_DELIMITED) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """Base-128 digits, the lowest first."""
    digits = bytearray()
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*digits, value])
