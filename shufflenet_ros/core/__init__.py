# SPDX-License-Identifier: Apache-2.0
"""From a message's bytes to pixels, to a tensor, to predictions. No ROS, no torch, no onnxruntime."""
