"""A bundle's graph for our own kernels: taken apart, quantised, defined in NumPy, written as a blob."""
