# SPDX-License-Identifier: Apache-2.0
"""Other projects' weights in our networks, exactly.

State dicts: state_file reads tensors, convert renames them by a row of layouts, infer finds the network, and
channel_order reorders the channels. ONNX: onnx_graph reads layers, onnx_weights fills a
network and compares it with the file. import_file does either; provenance adds source, labels and terms.
"""
