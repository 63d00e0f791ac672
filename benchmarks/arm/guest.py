"""Runs in the emulated arm64 Python: three inferences by onnxruntime, getppid() around each.

    python3 guest.py SITE MODEL FRAME.npy OUTPUT LOGITS.npy

Nothing of the project is imported. The last run's output named OUTPUT is written, onnxruntime's version
printed.
"""

import os
import sys

site, model, frame, output, logits = sys.argv[1:]
sys.path.insert(0, site)

import numpy as np  # noqa: E402
import onnxruntime  # noqa: E402

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
options.log_severity_level = 3
session = onnxruntime.InferenceSession(model, options, providers=['CPUExecutionProvider'])
# All outputs, as the node asks for them.
names = [found.name for found in session.get_outputs()]
inputs = {session.get_inputs()[0].name: np.load(frame)}
for _ in range(3):
    os.getppid()
    values = session.run(names, inputs)
    os.getppid()
np.save(logits, values[names.index(output)])
print(onnxruntime.__version__)
