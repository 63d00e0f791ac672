# SPDX-License-Identifier: Apache-2.0
"""`models check`, `add-card` and `add-embedding`, as a user calls them."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_models import CLASSES, DIM, SIZE, card, classifier, good, model, nodes, value, weights, write

from shufflenet_ros.backends.ort import OnnxRuntimeBackend
from shufflenet_ros.bundles.bundle import open_bundle
from shufflenet_ros.bundles.golden import golden_image
from shufflenet_ros.bundles.index import write_index
from shufflenet_ros.bundles.variants import resolve
from shufflenet_ros.core.preprocess import preprocess

BARE = card(outputs={'logits': 'logits'}, embedding=None)
LOGITS = [value('logits', TensorProto.FLOAT, [1, CLASSES])]
IMAGE = [value('image', TensorProto.UINT8, [1, SIZE, SIZE, 3])]


def test_check_says_yes(models, tmp_path):
    path = good(tmp_path)
    assert 'yes: loads and runs on CPUExecutionProvider' in models('check', path).out
    checked, = models('check', path, '--json').lines
    assert checked['ok'] and checked['provider'] == 'CPUExecutionProvider'


@pytest.mark.parametrize(('options', 'cause'), [
    (['--sha256', 'a' * 64], 'expected sha256 a'), (['--provider', 'qnn'], "got 'qnn'"),
    (['--card', 'no.json'], 'no.json')])
def test_check_says_no_with_the_cause(options, cause, models, cache):
    path = good(cache)
    write_index(cache)
    assert models('check', path, *options, status=1).out.startswith('no: ')
    checked, = models('check', path, *options, '--json', status=1).lines
    assert not checked['ok'] and cause in checked['cause']


def written(path: Path) -> onnx.ModelProto:
    """A written file, checked for what applies to every one."""
    proto = onnx.load(path)
    assert proto.ir_version <= 8
    assert max(entry.version for entry in proto.opset_import if entry.domain in ('', 'ai.onnx')) <= 17
    assert len({entry.key for entry in proto.metadata_props}) == len(proto.metadata_props)
    return proto


def test_add_card_puts_the_card_inside(models, tmp_path):
    proto = classifier(ir=9)
    proto.metadata_props.add(key='author', value='somebody')
    path, out, text = write(tmp_path / 'theirs.onnx', proto), tmp_path / 'ours.onnx', tmp_path / 'card.json'
    text.write_text(json.dumps(card(name='ours')))
    assert models('add-card', path, '--card', text, '-o', out).out == ''
    assert {entry.key for entry in written(out).metadata_props} == {'author', 'shufflenet_ros.card'}
    opened = open_bundle(str(out))
    assert (opened.card.name, opened.card_from) == ('ours', 'in the file')
    text.write_text(json.dumps(card(name='newer')))
    models('add-card', out, '--card', text, '-o', out)
    assert open_bundle(str(out)).card.name == 'newer'
    written(out)


def test_add_card_rejects_a_card_that_does_not_fit_and_writes_nothing(models, tmp_path):
    path, text = write(tmp_path / 'theirs.onnx', classifier()), tmp_path / 'card.json'
    text.write_text(json.dumps(card(labels=['a', 'b'])))
    ran = models('add-card', path, '--card', text, '-o', tmp_path / 'ours.onnx', status=2)
    assert 'card field labels' in ran.err
    assert {p.name for p in tmp_path.iterdir()} == {'theirs.onnx', 'card.json'}


def quantized(operator: str) -> onnx.ModelProto:
    """The classifier with its last layer in 8 bits: QLinearMatMul (ai.onnx) or QGemm (com.microsoft)."""
    w2 = weights()['w2']
    w_scale, y_scale = np.float32(np.abs(w2).max() / 127), np.float32(0.1)
    constants = {
        'w1': weights()['w1'], 'w2q': np.round(w2 / w_scale).astype(np.int8), 'ws': w_scale, 'wz': np.int8(0),
        'fs': np.float32(0.05), 'fz': np.uint8(128), 'ys': y_scale, 'yz': np.uint8(128)}
    parts = ['features_q', 'fs', 'fz', 'w2q', 'ws', 'wz']
    domain = {}
    if operator == 'QGemm':
        constants['b'] = np.zeros(CLASSES, np.int32)
        parts.append('b')
        domain = {'domain': 'com.microsoft'}
    made = [*nodes()[:3], helper.make_node('QuantizeLinear', ['features', 'fs', 'fz'], ['features_q']),
            helper.make_node(operator, [*parts, 'ys', 'yz'], ['logits_q'], **domain),
            helper.make_node('DequantizeLinear', ['logits_q', 'ys', 'yz'], ['logits'])]
    proto = model(made, IMAGE, LOGITS, {key: np.asarray(array) for key, array in constants.items()})
    proto.opset_import.append(helper.make_opsetid('com.microsoft', 1))
    return proto


def with_weights_dequantized() -> onnx.ModelProto:
    """The QDQ form: float layers between pairs of quantize and dequantize."""
    made = [*nodes()[:3], helper.make_node('DequantizeLinear', ['w2q', 'ws', 'wz'], ['w2']), *nodes()[3:]]
    constants = {'w1': weights()['w1'], 'b2': weights()['b2'], 'ws': np.array(0.02, np.float32),
                 'wz': np.array(0, np.int8),
                 'w2q': np.round(weights()['w2'] / 0.02).clip(-127, 127).astype(np.int8)}
    return model(made, IMAGE, LOGITS, constants)


def pooled_late() -> onnx.ModelProto:
    """(1, D, 1, 1) into Flatten into Gemm, as torch exports it."""
    made = [helper.make_node('Cast', ['image'], ['float'], to=TensorProto.FLOAT),
            helper.make_node('MatMul', ['float', 'w1'], ['deep']),
            helper.make_node('Transpose', ['deep'], ['nchw'], perm=[0, 3, 1, 2]),
            helper.make_node('GlobalAveragePool', ['nchw'], ['pooled']),
            helper.make_node('Flatten', ['pooled'], ['features']), nodes()[-1]]
    return model(made, IMAGE, LOGITS, weights())


def run(path: Path, names: list[str], image: np.ndarray) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry('session.x64quantprecision', '1')
    session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=['CPUExecutionProvider'])
    return list(session.run(names, {session.get_inputs()[0].name: image}))


CLASSIFIERS = {
    'Gemm': (classifier(), 'features'), 'MatMul and Add': (classifier(last='MatMul'), 'features'),
    'QLinearMatMul': (quantized('QLinearMatMul'), 'features_q'), 'QGemm': (quantized('QGemm'), 'features_q'),
    'QDQ': (with_weights_dequantized(), 'features'), 'pooled': (pooled_late(), 'features'),
}


@pytest.mark.parametrize(('proto', 'layer'), CLASSIFIERS.values(), ids=CLASSIFIERS)
def test_add_embedding_gives_the_tensor_before_the_last_layer(proto, layer, models, cache, tmp_path):
    path, out = write(cache / 'in.onnx', proto, BARE), tmp_path / 'out.onnx'
    write_index(cache)
    models('add-embedding', path, '-o', out)
    written(out)
    bundle = open_bundle(str(out))
    assert bundle.card.outputs == {'logits': 'logits', 'embedding': 'embedding'}
    assert bundle.card.embedding == {'dim': DIM, 'layer': layer}
    image = np.random.default_rng(2).integers(0, 256, (1, SIZE, SIZE, 3), np.uint8)
    logits, embedding = run(out, ['logits', 'embedding'], image)
    np.testing.assert_array_equal(logits, run(path, ['logits'], image)[0])
    features = image.astype(np.float32).mean((1, 2)) @ weights()['w1']
    step = 0.05 if layer == 'features_q' else 1e-4
    np.testing.assert_allclose(embedding, features, atol=step)
    np.testing.assert_array_equal(OnnxRuntimeBackend(resolve(bundle)).run(image).embedding, embedding[0])


def test_add_embedding_to_the_public_int8_model(models, int8, tmp_path):
    out = tmp_path / 'out.onnx'
    models('add-embedding', int8, '-o', out)
    proto = written(out)
    assert {entry.domain: entry.version for entry in proto.opset_import}[''] == 12
    after, before = open_bundle(str(out)), open_bundle(str(int8))
    assert after.card.embedding['dim'] == 1024 and after.card.labels == before.card.labels
    tensor = preprocess(golden_image(after.card.input.size), after.card.input)
    got = OnnxRuntimeBackend(resolve(after)).run(tensor)
    np.testing.assert_array_equal(got.logits, OnnxRuntimeBackend(resolve(before)).run(tensor).logits)
    # The quantized tensor itself, by making it an output of the original file.
    node = next(n for n in proto.graph.node if n.op_type == 'QLinearMatMul')
    original = onnx.load(int8)
    original.graph.output.append(value(node.input[0], TensorProto.UINT8, [1, 1024]))
    raw, = run(write(tmp_path / 'open.onnx', original), [node.input[0]], tensor)
    scale, zero = (numpy_helper.to_array(next(t for t in proto.graph.initializer if t.name == name))
                   for name in node.input[1:3])
    expected = (raw[0].astype(np.float32) - np.float32(zero)) * scale
    assert got.embedding is not None and np.ptp(expected) > 0
    np.testing.assert_array_equal(got.embedding, expected)


def convolution_last() -> onnx.ModelProto:
    kernel = np.ones((CLASSES, 3, SIZE, SIZE), np.float32)
    made = [helper.make_node('Cast', ['image'], ['float'], to=TensorProto.FLOAT),
            helper.make_node('Transpose', ['float'], ['x'], perm=[0, 3, 1, 2]),
            helper.make_node('Conv', ['x', 'k'], ['y']), helper.make_node('Flatten', ['y'], ['logits'])]
    return model(made, IMAGE, LOGITS, {'k': kernel})


def named_embedding() -> onnx.ModelProto:
    proto = classifier(outputs=LOGITS)
    for node in proto.graph.node:
        for names in (node.input, node.output):
            names[:] = ['embedding' if name == 'features' else name for name in names]
    return proto


def of_opset_18() -> onnx.ModelProto:
    proto = classifier()
    proto.opset_import[0].version = 18
    proto.graph.node[1].attribute.pop(0)  # ReduceMean's axes became an input in 18.
    proto.graph.node[1].input.append('axes')
    proto.graph.initializer.append(numpy_helper.from_array(np.array([1, 2]), 'axes'))
    return proto


@pytest.mark.parametrize(('proto', 'values', 'cause'), [
    (classifier(), card(), "expected a model without an embedding output, got 'features'"),
    (convolution_last(), BARE, 'got Conv; add the embedding as a second output where the model is exported'),
    (named_embedding(), BARE, "expected no tensor named 'embedding'"),
    (of_opset_18(), BARE, 'expected opset <= 17, got 18'),
], ids=['has one', 'convolution', 'name taken', 'newer than robots can run'])
def test_add_embedding_says_why_it_cannot(proto, values, cause, models, cache, tmp_path):
    path = write(cache / 'in.onnx', proto, values)
    write_index(cache)
    assert cause in models('add-embedding', path, '-o', tmp_path / 'out.onnx', status=2).err
    assert [p.name for p in tmp_path.iterdir()] == ['cache']
