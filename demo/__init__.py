"""The demo: real video and photos through a real bag, real DDS and the real node. `make demo` runs it."""
