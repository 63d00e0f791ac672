# SPDX-License-Identifier: Apache-2.0
"""Running a model tells nobody: onnxruntime's own reports are off."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SESSION = """
import sys
from shufflenet_ros.backends.ort import ort
options = ort.SessionOptions()
options.intra_op_num_threads = 1
ort.InferenceSession(sys.argv[1], options)
"""


def test_onnxruntime_reports_nothing_unless_an_operator_wants_it(tmp_path: Path, repo_root: Path) -> None:
    """Its reports begin with a device id, which it keeps below the cache folder."""
    onnx = pytest.importorskip('onnx', reason='needs the extra export')
    value = onnx.helper.make_tensor_value_info('x', onnx.TensorProto.FLOAT, [1])
    out = onnx.helper.make_tensor_value_info('y', onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([onnx.helper.make_node('Identity', ['x'], ['y'])], 'g', [value], [out])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid('', 17)], ir_version=8)
    path = tmp_path / 'm.onnx'
    path.write_bytes(model.SerializeToString())
    environment = {key: text for key, text in os.environ.items() if key != 'ORT_DISABLE_TELEMETRY'}
    home = tmp_path / 'home'
    home.mkdir()
    environment |= {'HOME': str(home), 'XDG_CACHE_HOME': str(home / '.cache')}
    subprocess.run([sys.executable, '-c', SESSION, str(path)], env=environment, cwd=repo_root, check=True)
    assert list(home.rglob('*')) == []
