"""Look into an ONNX file without a runtime: versions, metadata, and whether it points to other files.

Only the wire format of protocol buffers is read, with offsets into the bytes as they came, so that a
file nobody has proved yet is never given to a parser that could end the process. Field numbers: onnx.proto.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from shufflenet_ros.backends.errors import ModelError

MAX_FIELDS = 2_000_000

# Which fields of a message hold which messages; a tensor can be anywhere below.
NESTED: Mapping[str, Mapping[int, str]] = {
    'Model': {7: 'Graph', 20: 'TrainingInfo', 25: 'Function'},
    'TrainingInfo': {1: 'Graph', 2: 'Graph'},
    'Function': {7: 'Node', 11: 'Attribute'},
    'Graph': {1: 'Node', 5: 'Tensor', 15: 'SparseTensor'},
    'Node': {5: 'Attribute'},
    'Attribute': {5: 'Tensor', 6: 'Graph', 10: 'Tensor', 11: 'Graph', 22: 'SparseTensor', 23: 'SparseTensor'},
    'SparseTensor': {1: 'Tensor', 2: 'Tensor'},
    'Tensor': {},
}
_MODEL_IR_VERSION, _MODEL_GRAPH, _MODEL_OPSET, MODEL_METADATA = 1, 7, 8, 14
_TENSOR_EXTERNAL_DATA, _TENSOR_DATA_LOCATION = 13, 14

Span = tuple[int, int]


@dataclass(frozen=True)
class OnnxFacts:
    """What a file says of itself: IR version, operator set version a domain, metadata texts.

    Attributes:
        graph_sha256: of the graph's bytes, which stay the same when metadata change.
    """

    ir_version: int
    opsets: Mapping[str, int]
    metadata: Mapping[str, str]
    graph_sha256: str = ''


def _broken(cause: str) -> ModelError:
    return ModelError(f'expected an ONNX model, got bytes that are none ({cause}); '
                      'check that the file is complete and in ONNX format')


def varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """A number of variable length at a place, and the place behind it.

    Raises:
        ModelError: it is cut, or longer than ten bytes.
    """
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise _broken(f'a number is cut or too long at byte {at}')


def fields(data: bytes, span: Span) -> Iterator[tuple[int, int | Span]]:
    """Field numbers of one message with their value: a number, or the span of nested bytes.

    Raises:
        ModelError: a field is cut, or of a kind that ONNX doesn't use.
    """
    at, end = span
    while at < end:
        key, at = varint(data, at, end)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = varint(data, at, end)
            yield number, value
            continue
        if wire == 2:
            length, at = varint(data, at, end)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise _broken(f'wire type {wire} at byte {at}')
        if length > end - at:
            raise _broken(f'{length} bytes are announced at byte {at}, {end - at} are left')
        yield number, (at, at + length)
        at += length


def text_of(data: bytes, span: int | Span | None) -> str:
    """A field's bytes as text, '' where there is none."""
    return data[slice(*span)].decode('utf-8', 'replace') if isinstance(span, tuple) else ''


def read_facts(data: bytes) -> OnnxFacts:
    """Walk the whole file once.

    Raises:
        ModelError: not ONNX, cut, more than MAX_FIELDS fields, or weights outside the file.
    """
    ir_version = 0
    opsets: dict[str, int] = {}
    metadata: dict[str, str] = {}
    graphs = seen = 0
    graph = hashlib.sha256()
    stack: list[tuple[str, Span]] = [('Model', (0, len(data)))]
    while stack:
        kind, span = stack.pop()
        for number, value in fields(data, span):
            seen += 1
            if seen > MAX_FIELDS:
                raise _broken(f'more than {MAX_FIELDS} fields')
            if isinstance(value, tuple) and number in NESTED[kind]:
                stack.append((NESTED[kind][number], value))
            if kind == 'Tensor':
                _refuse_external(number, value)
            if kind != 'Model':
                continue
            if number == _MODEL_IR_VERSION and isinstance(value, int):
                ir_version = value
            elif number == _MODEL_GRAPH and isinstance(value, tuple):
                graphs += 1
                graph.update(data[slice(*value)])  # parts of one message join, by protocol buffers' rules
            elif number in (_MODEL_OPSET, MODEL_METADATA) and isinstance(value, tuple):
                entry = dict(fields(data, value))
                if number == MODEL_METADATA:
                    metadata[text_of(data, entry.get(1))] = text_of(data, entry.get(2))
                else:
                    version = entry.get(2, 0)
                    opsets[text_of(data, entry.get(1))] = version if isinstance(version, int) else 0
    if not graphs or not ir_version:
        raise _broken('no graph' if ir_version else 'no IR version')
    return OnnxFacts(ir_version, opsets, metadata, graph.hexdigest())


def _refuse_external(number: int, value: int | Span) -> None:
    if number == _TENSOR_EXTERNAL_DATA or (number == _TENSOR_DATA_LOCATION and value != 0):
        raise ModelError('expected a model in one file, got weights as external data in another one; '
                         'put them inside: onnx.save_model(model, path, save_as_external_data=False)')
