# SPDX-License-Identifier: Apache-2.0
"""Small real ONNX classifiers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZE, CLASSES, DIM = 8, 4, 6
LABELS = [f'thing {i}' for i in range(CLASSES)]
CARD_KEY = 'shufflenet_ros.card'


def card(**changes: Any) -> dict[str, Any]:
    """The card of `classifier()`; a change of None removes the field."""
    values = {
        'schema': 1, 'name': 'small', 'network': 'test network', 'labels': LABELS,
        'input': {'layout': 'NHWC', 'dtype': 'uint8', 'size': [SIZE, SIZE], 'color': 'rgb'},
        'outputs': {'logits': 'logits', 'embedding': 'features'},
        'embedding': {'dim': DIM, 'layer': 'features'},
        'training': {'data': 'made up', 'terms': 'none needed', 'recipe': ''},
        'license': 'Apache-2.0',
    } | changes
    return {key: value for key, value in values.items() if value is not None}


def value(name: str, dtype: int, shape: list[Any]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def model(nodes: list[onnx.NodeProto], inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto],
          constants: dict[str, np.ndarray] | None = None, opset: int = 17, ir: int = 8) -> onnx.ModelProto:
    initializers = [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()]
    graph = helper.make_graph(nodes, 'small', inputs, outputs, initializers)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid('', opset)])
    proto.ir_version = ir
    return proto


def weights() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(7)
    return {'w1': rng.normal(size=(3, DIM)).astype(np.float32) / 64,
            'w2': rng.normal(size=(DIM, CLASSES)).astype(np.float32), 'b2': np.zeros(CLASSES, np.float32)}


def nodes(last: str = 'Gemm') -> list[onnx.NodeProto]:
    """Mean color, a hidden layer `features`, logits; `last` is Gemm or MatMul (with Add)."""
    head = [helper.make_node('Gemm', ['features', 'w2', 'b2'], ['logits'])] if last == 'Gemm' else [
        helper.make_node('MatMul', ['features', 'w2'], ['product']),
        helper.make_node('Add', ['b2', 'product'], ['logits'])]
    return [helper.make_node('Cast', ['image'], ['float'], to=TensorProto.FLOAT),
            helper.make_node('ReduceMean', ['float'], ['mean'], axes=[1, 2], keepdims=0),
            helper.make_node('MatMul', ['mean', 'w1'], ['features']), *head]


def classifier(*, last: str = 'Gemm', image: onnx.ValueInfoProto | None = None,
               outputs: list[onnx.ValueInfoProto] | None = None,
               more_inputs: tuple[onnx.ValueInfoProto, ...] = (), opset: int = 17, ir: int = 8
               ) -> onnx.ModelProto:
    """uint8 (1, 8, 8, 3) to logits (1, 4) and features (1, 6)."""
    image = image or value('image', TensorProto.UINT8, [1, SIZE, SIZE, 3])
    if outputs is None:
        outputs = [value('logits', TensorProto.FLOAT, [1, CLASSES]),
                   value('features', TensorProto.FLOAT, [1, DIM])]
    return model(nodes(last), [image, *more_inputs], outputs, weights(), opset, ir)


def of_any_image(image: onnx.ValueInfoProto, dtype: int = TensorProto.FLOAT) -> onnx.ModelProto:
    """Logits of this type, from an image of any shape."""
    made = [helper.make_node('Cast', ['image'], ['float'], to=TensorProto.FLOAT),
            helper.make_node('ReduceMean', ['float'], ['mean'], keepdims=0),
            helper.make_node('Mul', ['mean', 'gains'], ['scores']),
            helper.make_node('Cast', ['scores'], ['logits'], to=dtype)]
    return model(made, [image], [value('logits', dtype, [1, CLASSES])],
                 {'gains': np.arange(CLASSES, dtype=np.float32)[None]})


def of_unknown_length() -> onnx.ModelProto:
    """Four logits, whose number is known only after a run."""
    made = [*nodes(), helper.make_node('IsNaN', ['logits'], ['nan']),
            helper.make_node('Not', ['nan'], ['number']),
            helper.make_node('Reshape', ['number', 'flat'], ['kept']),
            helper.make_node('Compress', ['logits', 'kept'], ['some'], axis=1)]
    return model(made, [value('image', TensorProto.UINT8, [1, SIZE, SIZE, 3])],
                 [value('some', TensorProto.FLOAT, [1, 'n'])], weights() | {'flat': np.array([-1])})


def write(path: Path, proto: onnx.ModelProto, card_values: dict[str, Any] | None = None) -> Path:
    """Write the file, with a card in its metadata if one is given."""
    if card_values is not None:
        entry = proto.metadata_props.add()
        entry.key, entry.value = CARD_KEY, json.dumps(card_values)
    path.write_bytes(proto.SerializeToString())
    return path


def good(folder: Path, name: str = 'small') -> Path:
    """A bundle that loads."""
    return write(folder / f'{name}.onnx', classifier(), card(name=name))
