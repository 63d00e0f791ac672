# SPDX-License-Identifier: Apache-2.0
"""Runs in the emulated arm64 Python: three inferences by onnxruntime, with getppid() before and after each.

    python3 guest.py SITE MODEL FRAME.npy OUTPUT LOGITS.npy

Imports nothing of this project. Writes the last inference's output OUTPUT, and prints onnxruntime's version.
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
names = [value.name for value in session.get_outputs()]  # all, as in the node
inputs = {session.get_inputs()[0].name: np.load(frame)}
for _ in range(3):
    os.getppid()
    values = session.run(names, inputs)
    os.getppid()
np.save(logits, values[names.index(output)])
print(onnxruntime.__version__)
