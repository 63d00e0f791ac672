# SPDX-License-Identifier: Apache-2.0
"""Add a card or an embedding output to a third-party ONNX classifier. Needs the extra `export`."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from shufflenet_ros.backends.load import load
from shufflenet_ros.bundles.bundle import Bundle, open_bundle
from shufflenet_ros.bundles.errors import mismatch
from shufflenet_ros.bundles.onnx_write import import_onnx, save_bundle
from shufflenet_ros.core.card import Card
from shufflenet_ros.core.files import replacing

EMBEDDING = 'embedding'

# Linear operator -> index of the weight input. Input 0 is the data; in quantized operators, inputs 1 and 2
# are the scale and zero point of the data.
LINEAR = {'Gemm': 1, 'MatMul': 1, 'QGemm': 3, 'QLinearMatMul': 3}

# May be between the last linear layer and the logits; each keeps one value per class.
PASSED = frozenset({'Add', 'QLinearAdd', 'Cast', 'Identity', 'Dropout', 'Flatten', 'Reshape', 'Squeeze',
                    'QuantizeLinear', 'DequantizeLinear', 'Softmax', 'LogSoftmax', 'QLinearSoftmax'})


def add_card(model: str, card_file: str, output: Path) -> Bundle:
    """Write the model with a card in its metadata. The result is verified first.

    Raises:
        ModelError: the model or the card cannot be used, or they don't fit.
        ModuleNotFoundError: the onnx package is not installed.
    """
    bundle = open_bundle(model, card_file)
    return _save(bundle.data, bundle.card, output)


def add_embedding(model: str, card_file: str, output: Path) -> Bundle:
    """Write the model with an output `embedding` (1, D): the input of its last linear layer, as float32.

    Raises:
        ModelError: the model cannot be used, already has an embedding, or does not end in a linear layer.
        ModuleNotFoundError: the onnx package is not installed.
    """
    # Verified first, because the onnx package then parses it in this process.
    bundle = load(model, card=card_file, backend='onnxruntime', precision='').bundle
    card = bundle.card
    if EMBEDDING in card.outputs:
        raise mismatch(str(bundle.path), 'a model without an embedding output', repr(card.outputs[EMBEDDING]),
                       'use it unchanged')
    proto = import_onnx().load_from_string(bundle.data)
    layer, dim = _expose(proto.graph, card, str(bundle.path))
    outputs = {**card.outputs, EMBEDDING: EMBEDDING}
    # Variants were made from the graph without this output.
    card = replace(card, outputs=outputs, embedding={'dim': dim, 'layer': layer}, variants=())
    return _save(proto.SerializeToString(), card, output)


def _save(graph: bytes, card: Card, output: Path) -> Bundle:
    """Write beside the target and verify; only a good file replaces the target."""
    with replacing(output) as draft:
        save_bundle(graph, card, draft)
        load(str(draft.absolute()), backend='onnxruntime', precision='')
    return open_bundle(str(output.absolute()))


def _expose(graph: Any, card: Card, what: str) -> tuple[str, int]:
    """Add the output to the graph. Returns the name of the exposed tensor and its length."""
    onnx = import_onnx()
    node = _last_linear(graph, card.outputs['logits'], what)
    tensor, weight = node.input[0], node.input[LINEAR[node.op_type]]
    if any(a.name == 'transA' and a.i for a in node.attribute):
        raise mismatch(what, f'{node.name} without transA', 'transA = 1', 'export the model again')
    if any(EMBEDDING in other.output for other in graph.node):
        raise mismatch(what, f'no tensor named {EMBEDDING!r} that is not an output', 'one',
                       f'rename it, or make it an output and name it in the card (outputs.{EMBEDDING})')
    dim = _weight_size(graph, weight, what) // len(card.labels)
    flat = tensor
    if node.op_type.startswith('Q'):
        flat = f'{EMBEDDING}_float'
        graph.node.append(onnx.helper.make_node('DequantizeLinear', node.input[:3], [flat], name=flat))
    graph.node.append(onnx.helper.make_node('Flatten', [flat], [EMBEDDING], name=EMBEDDING, axis=1))
    graph.output.append(onnx.helper.make_tensor_value_info(EMBEDDING, onnx.TensorProto.FLOAT, [1, dim]))
    return tensor, dim


def _last_linear(graph: Any, logits: str, what: str) -> Any:
    """The linear layer before the logits, with only bias, casts and quantization between them."""
    producers = {name: node for node in graph.node for name in node.output}
    tensor = logits
    while (node := producers.get(tensor)) is not None and node.op_type in PASSED:
        # The data of a sum is the operand that a node computes; the bias is a constant.
        tensor = next((name for name in node.input if _computed(producers.get(name))), '')
    if node is None or node.op_type not in LINEAR:
        raise mismatch(what, f'logits that come from one of {sorted(LINEAR)}',
                       node.op_type if node is not None else f'tensor {tensor!r} that no node computes',
                       'add the embedding as a second output where the model is exported')
    return node


def _computed(node: Any) -> bool:
    return node is not None and node.op_type != 'Constant'


def _weight_size(graph: Any, name: str, what: str) -> int:
    """Number of weights; nodes between keep it (DequantizeLinear, Transpose...)."""
    sizes: dict[str, int] = {tensor.name: math.prod(tensor.dims) for tensor in graph.initializer}
    sizes |= {node.output[0]: math.prod(node.attribute[0].t.dims)
              for node in graph.node if node.op_type == 'Constant'}
    sources = {output: node.input[0] for node in graph.node if node.input for output in node.output}
    for _ in range(len(graph.node)):
        if name in sizes:
            return sizes[name]
        name = sources.get(name, name)
    raise mismatch(what, 'constant weights in the last linear layer', f'{name!r}, which is computed',
                   'export the model with its weights as constants')
