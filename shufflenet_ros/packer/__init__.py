# SPDX-License-Identifier: Apache-2.0
"""Pack a bundle's ONNX graph for the native kernels. A graph passes through the modules in this order:

graph: read the ONNX nodes (onnx_node) and apply each (operators, convolutions) to tensors
layers: fold batch normalization, ReLU, sums and pools into convolutions
assign_maps: give the channels maps in memory; the result is a network.Network in fp32
half: fp32 to fp16; or quantize: fp32 to int8, with ranges and equalize
blob: write the network as the file that the C library reads
pack: all of this for a bundle and its card; score_variants measures the accuracy

reference defines what a network computes, in int8 to the bit.
"""
