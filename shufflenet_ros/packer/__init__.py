# SPDX-License-Identifier: Apache-2.0
"""Pack a bundle's ONNX graph for the native kernels. A graph passes through the modules in this order:

graph: read the ONNX nodes (onnx_node) and apply each (operators, convolutions) to tensors (values)
layers: fold batch normalization, ReLU, sums and pools into convolutions
arrange: decide which channels are stored next to each other
assign_maps: give the channels maps in memory; the result is a network.Network in fp32
half: fp32 to fp16; or quantize: fp32 to int8, with ranges, scale_groups and equalize
blob: write the network as the file that the C library reads
pack: all of this for a bundle and its card; score_variants measures the accuracy

What a network computes is defined by reference, and by int8 to the bit. batch computes the same faster.
"""
