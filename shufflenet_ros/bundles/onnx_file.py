"""Look into an ONNX file without a runtime: versions, metadata, whether it points to other files or loops.

Only the wire format of protocol buffers is read, with offsets into the bytes as they came, so that a
file nobody has verified yet is never given to a parser that could end the process. Field numbers: onnx.proto.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from shufflenet_ros.bundles.errors import ModelError, mismatch

MAX_FIELDS = 2_000_000

# Which fields of a message hold which messages; a tensor can be anywhere below.
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
_NAMES: Mapping[str, tuple[int, int]] = {'Node': (7, 4), 'Function': (10, 1)}  # fields of domain and name

DOMAINS = ('', 'ai.onnx', 'ai.onnx.ml', 'com.microsoft')
"""Of operators that onnxruntime has itself; com.microsoft holds those of quantized graphs."""

Span = tuple[int, int]
Name = tuple[str, str]


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
        if key >> 32:
            # protobuf, and with it onnxruntime, cuts off what is above 32 bits and would see another field.
            raise _broken(f'a field number of more than 32 bits at byte {at}')
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
        ModelError: not ONNX, cut, more than MAX_FIELDS fields, weights outside the file, an operator with a
            graph of its own (Loop, Scan, If, SequenceMap: how often that runs depends on values, and it need
            not end), or one that neither onnxruntime nor the file has.
    """
    ir_version = graphs = 0
    opsets: dict[str, int] = {}
    metadata: dict[str, str] = {}
    graph = hashlib.sha256()
    names: dict[str, set[Name]] = {'Node': set(), 'Function': set()}
    for kind, owner, number, value in _walk(data):
        if kind in names:
            names[kind].add(owner)
        elif kind == 'Tensor':
            _refuse_external(number, value)
        elif kind == 'Attribute' and number in _ATTRIBUTE_GRAPHS:
            raise _with_a_graph(owner)
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
    _check_operators(names['Node'] - names['Function'])
    return OnnxFacts(ir_version, opsets, metadata, graph.hexdigest())


def _walk(data: bytes) -> Iterator[tuple[str, Name, int, int | Span]]:
    """Every field of every message: the message's kind, the operator or function around it, number, value."""
    seen = 0
    stack: list[tuple[str, Name, Span]] = [('Model', ('', ''), (0, len(data)))]
    while stack:
        kind, owner, span = stack.pop()
        if kind in _NAMES:
            owner = _name(data, span, *_NAMES[kind])
        for number, value in fields(data, span):
            seen += 1
            if seen > MAX_FIELDS:
                raise _broken(f'more than {MAX_FIELDS} fields')
            if isinstance(value, tuple) and number in NESTED[kind]:
                stack.append((NESTED[kind][number], owner, value))
            yield kind, owner, number, value


def _name(data: bytes, span: Span, domain: int, name: int) -> Name:
    """(domain, name) of a node's operator or of a function; of a field that comes twice the last counts."""
    values = dict(fields(data, span))
    return text_of(data, values.get(domain)), text_of(data, values.get(name))


def _with_a_graph(owner: Name) -> ModelError:
    operator = '.'.join(filter(None, owner))[:80]
    return ModelError(f'expected a graph that is computed from its beginning to its end, got the operator '
                      f'{operator!r} with a graph of its own, as Loop, Scan, If and SequenceMap have: such a '
                      'model might never answer; export it with a fixed input shape, and without loops or '
                      'branches that depend on values')


def _check_operators(operators: set[Name]) -> None:
    """Hold what is no function of the file to onnxruntime's own domains."""
    for domain, operator in sorted(operators):
        if domain not in DOMAINS:
            raise mismatch(f'operator {operator[:80]!r}', f'one of the domains {", ".join(DOMAINS[1:])}',
                           repr(domain[:80]), 'export the model with standard operators alone')


def _refuse_external(number: int, value: int | Span) -> None:
    if number == _TENSOR_EXTERNAL_DATA or (number == _TENSOR_DATA_LOCATION and value != 0):
        raise ModelError('expected a model in one file, got weights as external data in another one; '
                         'put them inside: onnx.save_model(model, path, save_as_external_data=False)')
