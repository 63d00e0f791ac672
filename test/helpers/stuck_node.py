# SPDX-License-Identifier: Apache-2.0
"""The executable classify_node, but a frame_id can slow it down or hang it, also in onnxruntime's C++."""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from shufflenet_ros.core.classifier import Classifier
from shufflenet_ros.ros.main import main

SIDE, PRODUCTS = 256, 3000  # about a millisecond each
_classify = Classifier.classify


def run_forever() -> None:
    """Python that ends in the middle of such a run aborts the process."""
    names = [f'product{i}' for i in range(PRODUCTS + 1)]
    products = [helper.make_node('MatMul', [a, 'eye'], [b]) for a, b in zip(names, names[1:])]
    shape, eye = [SIDE, SIDE], np.eye(SIDE, dtype=np.float32)
    graph = helper.make_graph(
        products, 'long', [helper.make_tensor_value_info(names[0], TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(names[-1], TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(eye, 'eye')])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options,
                                           providers=['CPUExecutionProvider'])
    while True:
        session.run(None, {names[0]: eye})


def classify(self: Classifier, message: Any, options: Any) -> Any:
    """As usual; but with the frame_id `wait` or `run` it never returns, and with a number it sleeps first."""
    how = message.header.frame_id
    if how == 'wait':
        threading.Event().wait()
    if how == 'run':
        run_forever()
    if how.replace('.', '').isdigit():
        print('a slow frame', flush=True)
        time.sleep(float(how))
    return _classify(self, message, options)


if __name__ == '__main__':
    Classifier.classify = classify  # type: ignore[method-assign]
    sys.exit(main())
