# SPDX-License-Identifier: Apache-2.0
"""From the bytes of a message to pixels, a tensor and predictions. No ROS, no torch, no onnxruntime."""
