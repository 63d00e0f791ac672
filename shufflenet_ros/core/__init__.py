# SPDX-License-Identifier: Apache-2.0
"""A message's bytes to pixels to a tensor to labels. No ROS, no torch, no onnxruntime."""
