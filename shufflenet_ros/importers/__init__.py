# SPDX-License-Identifier: Apache-2.0
"""Other projects' weights in our networks, exactly.

State dicts: state_file reads the tensors, convert renames them as layouts says, infer finds the network, and
channel_order reorders the channels. ONNX: onnx_graph reads the layers, onnx_weights fills a network and
compares it with the file. import_file imports either kind; provenance adds source, labels and terms.
"""
