# SPDX-License-Identifier: Apache-2.0
"""A bundle that runs in well under a millisecond and whose result a person can predict.

Logits are linear in the image's mean color: a red image is `red`, a dark one `dark`.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper
from onnx_models import model, value

from shufflenet_ros.bundles.onnx_write import save_bundle
from shufflenet_ros.core.card import Card, CardInput

LABELS = ('red', 'green', 'blue', 'light', 'dark')
SIZE = 32
EMBEDDING_DIM = 8
# Rows R, G, B; columns as LABELS. A color scores where it is above the other two.
_WEIGHTS = np.array([[8, -4, -4, 3, -3], [-4, 8, -4, 3, -3], [-4, -4, 8, 3, -3]], np.float32)
_BIAS = np.array([0, 0, 0, -5, 4], np.float32)


def tiny_bundle(path: Path, name: str = 'tiny') -> Path:
    """Write the bundle: uint8 NHWC RGB in; logits (1, 5) and embedding (1, 8) out."""
    constants = {
        'scale': np.array(1 / 255, np.float32), 'embed': np.eye(3, EMBEDDING_DIM, dtype=np.float32),
        'embed_bias': np.eye(1, EMBEDDING_DIM, 3, dtype=np.float32)[0],
        'weights': np.pad(_WEIGHTS, ((0, EMBEDDING_DIM - 3), (0, 0))), 'bias': _BIAS}
    nodes = [
        helper.make_node('Cast', ['image'], ['float'], to=TensorProto.FLOAT),
        helper.make_node('Mul', ['float', 'scale'], ['scaled']),
        helper.make_node('ReduceMean', ['scaled'], ['mean'], axes=[1, 2], keepdims=0),
        helper.make_node('Gemm', ['mean', 'embed', 'embed_bias'], ['embedding']),
        helper.make_node('Gemm', ['embedding', 'weights', 'bias'], ['logits']),
    ]
    proto = model(nodes, [value('image', TensorProto.UINT8, [1, SIZE, SIZE, 3])],
                  [value('logits', TensorProto.FLOAT, [1, len(LABELS)]),
                   value('embedding', TensorProto.FLOAT, [1, EMBEDDING_DIM])], constants)
    onnx.checker.check_model(proto)
    card = Card(
        name=name, network='tiny test network', labels=LABELS,
        input=CardInput(layout='NHWC', dtype='uint8', size=(SIZE, SIZE), color='rgb'),
        outputs={'logits': 'logits', 'embedding': 'embedding'},
        embedding={'dim': EMBEDDING_DIM, 'layer': 'mean color'},
        training={'data': 'nothing', 'terms': 'none needed'}, license='Apache-2.0')
    save_bundle(proto.SerializeToString(), card, path)
    return path
