# SPDX-License-Identifier: Apache-2.0
"""Replace one metadata text of an ONNX file, such as its card. Every other byte stays; needs no onnx package.

So the graph keeps its sha256, by which a variant knows what it was made from.
"""

from collections.abc import Iterator

from shufflenet_ros.bundles.onnx_file import LENGTH_DELIMITED, MODEL_METADATA, Span, fields, texts

_KEY, _VALUE = 1, 2  # fields of a metadata entry


def with_metadata(data: bytes, key: str, value: str) -> bytes:
    """The file with a metadata text, in place of the old one of that key, or at the end.

    Raises:
        ModelError: the bytes are not an ONNX model.
    """
    entry = _field(_KEY, key.encode()) + _field(_VALUE, value.encode())
    kept = [data[start:stop] for start, stop in _without(data, key)]
    return b''.join([kept[0], _field(MODEL_METADATA, entry), *kept[1:]])


def _without(data: bytes, key: str) -> Iterator[Span]:
    """What is before, between and after the entries of a key."""
    begin = at = 0
    for number, value, end in fields(data, (0, len(data))):
        if number == MODEL_METADATA and isinstance(value, tuple) and texts(data, value, _KEY) == [key]:
            yield begin, at
            begin = end
        at = end
    yield begin, len(data)


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | LENGTH_DELIMITED) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """Base-128 digits, the lowest first."""
    digits = bytearray()
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*digits, value])
