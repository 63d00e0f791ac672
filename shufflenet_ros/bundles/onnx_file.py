# SPDX-License-Identifier: Apache-2.0
"""Read an ONNX file's versions, metadata and operators, and reject what is not safe to load. No runtime.

A parser, or ONNX Runtime, could end the process on a malformed file. So only the wire format of protocol
buffers is walked here, with offsets into the bytes. Field numbers: onnx.proto.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from shufflenet_ros.bundles.errors import ModelError, mismatch

MAX_FIELDS = 2_000_000

# Message -> field number -> the message in that field. Tensors can be anywhere below.
NESTED: Mapping[str, Mapping[int, str]] = {
    'Model': {7: 'Graph', 20: 'TrainingInfo', 25: 'Function'},
    'TrainingInfo': {1: 'Graph', 2: 'Graph'},
    'Function': {7: 'Node', 11: 'Attribute'},
    'Graph': {1: 'Node', 5: 'Tensor', 15: 'SparseTensor'},
    'Node': {5: 'Attribute'},
    'Attribute': {5: 'Tensor', 10: 'Tensor', 22: 'SparseTensor', 23: 'SparseTensor'},
    'SparseTensor': {1: 'Tensor', 2: 'Tensor'},
    'Tensor': {},
}
_MODEL_IR_VERSION, _MODEL_GRAPH, _MODEL_OPSET, MODEL_METADATA = 1, 7, 8, 14
_TENSOR_EXTERNAL_DATA, _TENSOR_DATA_LOCATION = 13, 14
_ATTRIBUTE_GRAPHS = (6, 11)
_DOMAIN_AND_NAME: Mapping[str, tuple[int, int]] = {'Node': (7, 4), 'Function': (10, 1)}

LENGTH_DELIMITED = 2  # wire type of strings, bytes and messages
_VARINT, _FIXED_BYTES = 0, {1: 8, 5: 4}

DOMAINS = ('', 'ai.onnx', 'ai.onnx.ml', 'com.microsoft')
"""The domains of onnxruntime's own operators; com.microsoft has those of quantized graphs."""

Span = tuple[int, int]
OperatorName = tuple[str, str]


@dataclass(frozen=True)
class OnnxSummary:
    """IR version, operator set version of each domain, and metadata strings.

    Attributes:
        graph_sha256: of the graph's bytes, which stay the same when the metadata changes.
    """

    ir_version: int
    opsets: Mapping[str, int]
    metadata: Mapping[str, str]
    graph_sha256: str = ''


def _not_onnx(cause: str) -> ModelError:
    return ModelError(f'expected an ONNX model, got other bytes ({cause}); '
                      'check that the file is complete and in ONNX format')


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """A number of variable length, and the offset past it."""
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise _not_onnx(f'a number is truncated or too long at byte {at}')


def fields(data: bytes, span: Span) -> Iterator[tuple[int, int | Span, int]]:
    """The fields of one message: field number; value, which is a number or a span of bytes; offset past it.

    Raises:
        ModelError: a field is truncated, or of a kind that ONNX doesn't use.
    """
    at, end = span
    while at < end:
        key, at = _varint(data, at, end)
        if key >> 32:
            # protobuf, and with it onnxruntime, drops the bits above 32 and would see another field.
            raise _not_onnx(f'a field number of more than 32 bits at byte {at}')
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, at = _varint(data, at, end)
            yield number, value, at
            continue
        if wire == LENGTH_DELIMITED:
            length, at = _varint(data, at, end)
        elif wire in _FIXED_BYTES:
            length = _FIXED_BYTES[wire]
        else:
            raise _not_onnx(f'wire type {wire} at byte {at}')
        if length > end - at:
            raise _not_onnx(f'{length} bytes are announced at byte {at}, {end - at} are left')
        yield number, (at, at + length), at + length
        at += length


def strings(data: bytes, span: Span, *numbers: int) -> list[str]:
    """The strings in some fields of a message, '' for an absent one; if a field comes twice, the last."""
    values = {number: value for number, value, _ in fields(data, span)}
    spans = (values.get(number) for number in numbers)
    return [data[slice(*at)].decode('utf-8', 'replace') if isinstance(at, tuple) else '' for at in spans]


def read_summary(data: bytes) -> OnnxSummary:
    """Walk the whole file once.

    Raises:
        ModelError: not ONNX, truncated, more than MAX_FIELDS fields, weights outside the file, an operator
            with a graph of its own (Loop, Scan, If, SequenceMap: how often that runs depends on values, and
            it may never end), or one that neither onnxruntime nor the file has.
    """
    ir_version = graphs = 0
    opsets: dict[str, int] = {}
    metadata: dict[str, str] = {}
    graph = hashlib.sha256()
    names: dict[str, set[OperatorName]] = {'Node': set(), 'Function': set()}
    for kind, owner, number, value in _walk(data):
        if kind in names:
            names[kind].add(owner)
        elif kind == 'Tensor':
            _check_inside(number, value)
        elif kind == 'Attribute' and number in _ATTRIBUTE_GRAPHS:
            raise _control_flow(owner)
        if kind != 'Model':
            continue
        if number == _MODEL_IR_VERSION and isinstance(value, int):
            ir_version = value
        elif number == _MODEL_GRAPH and isinstance(value, tuple):
            graphs += 1
            graph.update(data[slice(*value)])  # protocol buffers join the parts of one message
        elif number == MODEL_METADATA and isinstance(value, tuple):
            key, text = strings(data, value, 1, 2)
            metadata[key] = text
        elif number == _MODEL_OPSET and isinstance(value, tuple):
            version = {field: content for field, content, _ in fields(data, value)}.get(2, 0)
            opsets[strings(data, value, 1)[0]] = version if isinstance(version, int) else 0
    if not graphs or not ir_version:
        raise _not_onnx('no graph' if ir_version else 'no IR version')
    _check_operators(names['Node'] - names['Function'])
    return OnnxSummary(ir_version, opsets, metadata, graph.hexdigest())


def _walk(data: bytes) -> Iterator[tuple[str, OperatorName, int, int | Span]]:
    """Every field of every message: the message's kind, the operator or function around it, number, value."""
    seen = 0
    stack: list[tuple[str, OperatorName, Span]] = [('Model', ('', ''), (0, len(data)))]
    while stack:
        kind, owner, span = stack.pop()
        if kind in _DOMAIN_AND_NAME:
            domain, name = strings(data, span, *_DOMAIN_AND_NAME[kind])
            owner = domain, name
        for number, value, _ in fields(data, span):
            seen += 1
            if seen > MAX_FIELDS:
                raise _not_onnx(f'more than {MAX_FIELDS} fields')
            if isinstance(value, tuple) and number in NESTED[kind]:
                stack.append((NESTED[kind][number], owner, value))
            yield kind, owner, number, value


def _control_flow(owner: OperatorName) -> ModelError:
    operator = '.'.join(filter(None, owner))[:80]
    return ModelError(f'expected a graph that runs from beginning to end, got the operator {operator!r} with '
                      'a graph of its own, as Loop, Scan, If and SequenceMap have: such a model might never '
                      'return; export it with a fixed input shape, and without loops or branches that depend '
                      'on values')


def _check_operators(operators: set[OperatorName]) -> None:
    for domain, operator in sorted(operators):
        if domain not in DOMAINS:
            raise mismatch(f'operator {operator[:80]!r}', f'one of the domains {", ".join(DOMAINS[1:])}',
                           repr(domain[:80]), 'export the model with standard operators only')


def _check_inside(number: int, value: int | Span) -> None:
    if number == _TENSOR_EXTERNAL_DATA or (number == _TENSOR_DATA_LOCATION and value != 0):
        raise ModelError('expected a model in one file, got weights as external data in another one; '
                         'put them inside: onnx.save_model(model, path, save_as_external_data=False)')
