"""A bundle's graph for our own kernels: taken apart, quantized, defined in NumPy, written as a blob."""
