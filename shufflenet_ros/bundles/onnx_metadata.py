"""Give an ONNX file another metadata text, every other byte staying as it is. Needs no onnx package.

So the graph keeps its sha256, by which a variant knows what it was made from.
"""

from collections.abc import Iterator

from shufflenet_ros.bundles.onnx_file import MODEL_METADATA, Span, fields, text_of, varint

_TEXT = 2  # wire type of what has a length
_KEY, _VALUE = 1, 2  # fields of a metadata entry


def with_metadata(data: bytes, key: str, value: str) -> bytes:
    """The file with a metadata text set: in the place of the old one, or at the end.

    Raises:
        ModelError: bytes that are no ONNX model.
    """
    entry = _field(_KEY, key.encode()) + _field(_VALUE, value.encode())
    new = _field(MODEL_METADATA, entry)
    parts = [data[start:stop] for start, stop in _without(data, key)]
    return b''.join([parts[0], new, *parts[1:]])


def _without(data: bytes, key: str) -> Iterator[Span]:
    """What lies before, between and after the entries of a key; everything where there is none."""
    begin = at = 0
    while at < len(data):
        number, value = next(fields(data, (at, len(data))))
        stop = value[1] if isinstance(value, tuple) else _after_number(data, at)
        if isinstance(value, tuple) and number == MODEL_METADATA and _key(data, value) == key:
            yield begin, at
            begin = stop
        at = stop
    yield begin, len(data)


def _after_number(data: bytes, at: int) -> int:
    """The place behind a field that is a number."""
    _, at = varint(data, at, len(data))
    return varint(data, at, len(data))[1]


def _key(data: bytes, span: Span) -> str:
    return text_of(data, dict(fields(data, span)).get(_KEY))


def _field(number: int, content: bytes) -> bytes:
    return _number(number << 3 | _TEXT) + _number(len(content)) + content


def _number(value: int) -> bytes:
    """As base-128 digits, the lowest first."""
    digits = bytearray()
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*digits, value])
