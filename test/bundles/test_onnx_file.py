# SPDX-License-Identifier: Apache-2.0
"""Reading an ONNX file: the same values as the onnx package, no byte trusted, one file only."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx_models import CARD_KEY, card, classifier, good, value, weights, write

from shufflenet_ros.bundles import onnx_file
from shufflenet_ros.bundles.bundle import open_bundle
from shufflenet_ros.bundles.errors import ModelError
from shufflenet_ros.bundles.onnx_file import read_summary
from shufflenet_ros.bundles.onnx_write import _field as field


def same_as_onnx(data: bytes) -> None:
    proto = onnx.load_from_string(data)
    facts = read_summary(data)
    assert facts.ir_version == proto.ir_version
    assert facts.opsets == {entry.domain: entry.version for entry in proto.opset_import}
    assert facts.metadata == {entry.key: entry.value for entry in proto.metadata_props}


@pytest.mark.parametrize('ir', [7, 8, 300])
def test_the_summary_equals_the_onnx_package(tmp_path: Path, ir: int) -> None:
    path = write(tmp_path / 'm.onnx', classifier(opset=17, ir=ir), card(name='größer'))
    same_as_onnx(path.read_bytes())
    assert 'größer' in read_summary(path.read_bytes()).metadata[CARD_KEY].encode().decode('unicode_escape')


def test_the_summary_of_the_public_int8_file(shared_data: Path) -> None:
    data = (shared_data / 'shufflenet_v2_x1_0_int8.onnx').read_bytes()
    same_as_onnx(data)
    assert read_summary(data).opsets[''] == 12


def test_truncated_at_every_byte_it_is_rejected_or_whole(tmp_path: Path) -> None:
    data = good(tmp_path).read_bytes()
    for end in range(len(data)):
        try:
            read_summary(data[:end])
        except ModelError as error:
            assert 'expected an ONNX model' in str(error)


@given(st.binary(max_size=300), st.data())
def test_random_and_changed_bytes_are_rejected_or_read(random_bytes: bytes, data: st.DataObject) -> None:
    changed = bytearray(classifier().SerializeToString())
    for _ in range(data.draw(st.integers(1, 5))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    for content in (random_bytes, bytes(changed)):
        try:
            read_summary(content)
        except ModelError as error:
            assert 'expected' in str(error)


@pytest.mark.parametrize(('data', 'cause'), [
    (b'\x08\x08', 'no graph'), (b'\x3a\x00', 'no IR version'), (b'\x3a\x7f', '127 bytes are announced'),
    (b'\x0b', 'wire type 3'), (b'\x08' + b'\xff' * 20, 'truncated or too long'),
    (b'PK\x03\x04 a zip', 'wire type'), (b'<!DOCTYPE html><html>', 'wire type'),
])
def test_the_error_says_why_it_is_not_onnx(data: bytes, cause: str) -> None:
    with pytest.raises(ModelError, match=cause):
        read_summary(data)


def test_more_fields_than_any_model_has_are_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_file, 'MAX_FIELDS', 1000)
    with pytest.raises(ModelError, match='more than 1000 fields'):
        read_summary(b'\x08\x08' * 1001)


def external(location: str) -> TensorProto:
    tensor = TensorProto(name='w1', data_type=TensorProto.FLOAT, dims=[3, 6],
                         data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key='location', value=location)
    return tensor


def with_weights(tensor: TensorProto) -> onnx.ModelProto:
    proto = classifier()
    keep = [t for t in proto.graph.initializer if t.name != tensor.name]
    del proto.graph.initializer[:]
    proto.graph.initializer.extend([*keep, tensor])
    return proto


@pytest.mark.parametrize('how', ['inside', 'parent', 'absolute', 'symlink_to', 'hardlink_to'])
def test_c6_external_data_is_rejected(how: str, tmp_path: Path) -> None:
    folder, secret = tmp_path / 'models', tmp_path / 'secret.bin'
    folder.mkdir()
    secret.write_bytes(weights()['w1'].tobytes())
    if how == 'inside':
        (folder / 'w.bin').write_bytes(secret.read_bytes())
    elif how.endswith('_to'):
        getattr(folder / 'w.bin', how)(secret)
    location = {'parent': '../secret.bin', 'absolute': str(secret)}.get(how, 'w.bin')
    path = write(folder / 'm.onnx', with_weights(external(location)), card())
    with pytest.raises(ModelError, match='expected a model in one file, got weights as external') as rejected:
        open_bundle(str(path))
    assert str(path) in str(rejected.value)


@pytest.mark.parametrize('where', ['constant node', 'function', 'sparse tensor', 'without its location'])
def test_c6_external_data_is_found_everywhere(where: str) -> None:
    proto, tensor = classifier(), external('w.bin')
    node = helper.make_node('Constant', [], ['c'], value=tensor)
    if where == 'constant node':
        proto.graph.node.append(node)
    elif where == 'function':
        opset = helper.make_opsetid('', 17)
        proto.functions.append(helper.make_function('d', 'f', [], ['c'], [node], [opset]))
    elif where == 'sparse tensor':
        indices = numpy_helper.from_array(np.zeros(1, np.int64), 'i')
        sparse = onnx.SparseTensorProto(values=tensor, indices=indices, dims=[18])
        proto.graph.sparse_initializer.append(sparse)
    else:
        del tensor.external_data[:]
        proto = with_weights(tensor)
    with pytest.raises(ModelError, match='external data'):
        read_summary(proto.SerializeToString())


def test_the_hash_of_the_graph_is_of_the_graph_alone() -> None:
    """Rewriting a card changes the metadata, and a variant must still recognize its graph."""
    model = classifier()
    facts = read_summary(model.SerializeToString())
    assert facts.graph_sha256 == hashlib.sha256(model.graph.SerializeToString()).hexdigest()
    onnx.helper.set_model_props(model, {'shufflenet_ros.card': '{}'})
    assert read_summary(model.SerializeToString()).graph_sha256 == facts.graph_sha256
    model.graph.initializer[0].raw_data = bytes(len(model.graph.initializer[0].raw_data))
    assert read_summary(model.SerializeToString()).graph_sha256 != facts.graph_sha256


def test_a_field_number_that_protobuf_would_truncate_hides_nothing() -> None:
    """For onnxruntime, field 7 + 2 ** 29 is the graph, field 7; here it was an unknown field."""
    more = onnx.GraphProto(initializer=[external('/etc/hostname')]).SerializeToString()
    hidden = field(7 + (1 << 29), more)
    with pytest.raises(ModelError, match='field number of more than 32 bits'):
        read_summary(classifier().SerializeToString() + hidden)


BODY = helper.make_graph([], 'b', [], [value('y', TensorProto.FLOAT, [3, 6])])
CONTROL_FLOW: dict[str, dict[str, Any]] = {
    'Loop': {'body': BODY}, 'Scan': {'body': BODY, 'num_scan_inputs': 1}, 'SequenceMap': {'body': BODY},
    'If': {'then_branch': BODY, 'else_branch': BODY},
}


def with_node(node: onnx.NodeProto, where: str) -> onnx.ModelProto:
    """The classifier with one more node: in its graph, in a function, or in a training graph."""
    proto = classifier()
    if where == 'graph':
        proto.graph.node.append(node)
    elif where == 'function':
        opset = helper.make_opsetid('', 17)
        proto.functions.append(helper.make_function('local', 'f', [], ['y'], [node], [opset]))
    else:
        proto.training_info.add().algorithm.node.append(node)
    return proto


@pytest.mark.parametrize('where', ['graph', 'function', 'training'])
@pytest.mark.parametrize('operator', CONTROL_FLOW)
def test_control_flow_is_rejected_with_its_name(operator: str, where: str) -> None:
    node = helper.make_node(operator, ['logits'], ['y'], **CONTROL_FLOW[operator])
    with pytest.raises(ModelError, match=rf"operator '{operator}' with a graph of its own.*fixed input"):
        read_summary(with_node(node, where).SerializeToString())


def test_a_graph_in_any_attribute_is_control_flow() -> None:
    search = helper.make_node('BeamSearch', ['logits'], ['y'], domain='com.microsoft', decoder=BODY)
    several = helper.make_node('Thing', ['logits'], ['y'], bodies=[BODY, BODY])
    called = with_node(helper.make_node('f', [], ['y'], domain='local', body=BODY), 'graph')
    called.functions.append(helper.make_function('local', 'f', [], ['y'], [], [], attributes=['body']))
    default = classifier()
    default.functions.append(helper.make_function('local', 'g', [], ['y'], [], []))
    default.functions[0].attribute_proto.append(helper.make_attribute('body', BODY))
    for proto, name in ((with_node(search, 'graph'), 'com.microsoft.BeamSearch'),
                        (with_node(several, 'graph'), 'Thing'), (called, 'local.f'), (default, 'local.g')):
        with pytest.raises(ModelError, match=f"operator '{name}' with a graph"):
            read_summary(proto.SerializeToString())


@pytest.mark.parametrize('domain', ['evil', 'ai.onnx.training', 'local'])
def test_operators_that_onnxruntime_lacks_are_rejected(domain: str) -> None:
    node = helper.make_node('Thing', ['logits'], ['y'], domain=domain)
    with pytest.raises(ModelError, match=rf"'Thing': expected one of the domains .*, got '{domain}'"):
        read_summary(with_node(node, 'graph').SerializeToString())


@pytest.mark.parametrize('domain', ['', 'ai.onnx', 'ai.onnx.ml', 'com.microsoft', 'local'])
def test_operators_of_onnxruntime_and_functions_of_the_file_are_accepted(domain: str) -> None:
    proto = with_node(helper.make_node('Thing', ['logits'], ['y'], domain=domain), 'graph')
    proto.functions.append(helper.make_function('local', 'Thing', ['x'], ['y'], [], []))
    same_as_onnx(proto.SerializeToString())
